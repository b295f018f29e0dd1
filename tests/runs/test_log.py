from clip2scene.runs import log
from clip2scene.runs.log import last_step, read_steps


def test_only_whole_lines_that_are_steps_are_read(tmp_path):
    path = tmp_path / "log.jsonl"
    lines = [b'{"step": 1, "loss": 0.5, "note": "x", "on": true}', b'{"step": "2"}', b"[1]", b'{"step": -1}']
    lines += [
        b'{"step": 2, "loss": NaN, "scr": Infinity, "b": 1}',
        b'{"step": 1e400}',
        b"9" * 400,
        b'{"step": ' + b"9" * 400 + b"}",
        b"\xff\xfe",
        b"[" * 100_000,
        b"",
    ]
    path.write_bytes(b"\n".join(lines) + b'{"step": 3, "lo')
    steps, place = read_steps(path)
    assert steps == [{"step": 1, "loss": 0.5}, {"step": 2, "b": 1}]
    assert path.read_bytes()[place:] == b'{"step": 3, "lo'
    with path.open("ab") as file:
        file.write(b'ss": 1.5}\n')
    assert read_steps(path, place)[0] == [{"step": 3, "loss": 1.5}]


def test_a_long_log_is_read_block_by_block(tmp_path, monkeypatch):
    monkeypatch.setattr(log, "BLOCK", 100)
    path = tmp_path / "log.jsonl"
    path.write_text("".join(f'{{"step": {step}, "loss": 1.25}}\n' for step in range(1, 50)))
    found, place = [], 0
    while True:
        steps, after = read_steps(path, place)
        if after == place:
            break
        found, place = found + steps, after
    assert [each["step"] for each in found] == list(range(1, 50))
    assert last_step(path) == 49


def test_a_log_that_is_not_there_has_no_steps(tmp_path):
    assert read_steps(tmp_path / "log.jsonl") == ([], 0) and last_step(tmp_path / "log.jsonl") == 0
