import builtins
import socket
import threading

import pytest

from clip2scene.classes.tables import TOYTOWN
from clip2scene.io import write_json
from clip2scene.viewer import view as module
from clip2scene.viewer.corrections import Corrections
from clip2scene.viewer.view import address, lock, open_session, order_of, require_free, require_viser, view


def test_there_must_be_something_to_look_at_and_one_thing_alone(tiny_run, tiny_toytown, tmp_path):
    with pytest.raises(ValueError, match="nothing to look at"):
        open_session(tiny_run)
    with pytest.raises(ValueError, match="both cloud files and --data-root"):
        open_session(tiny_run, [tmp_path / "cloud.bin"], data_root=tiny_toytown)


def test_a_session_has_the_split_and_the_runs_that_are_named(tiny_run, tiny_toytown):
    session = open_session(tiny_run, data_root=tiny_toytown, split="train", against=tiny_run, most_points=300)
    assert session.source.split == "train" and len(session.answerers) == 2
    assert session.most_points == 300


def test_a_second_run_of_other_classes_is_refused_before_any_data_are_opened(tiny_run, tmp_path):
    import shutil

    from clip2scene.inference.background import only
    from clip2scene.runs.run import load_prompts, save_prompts

    other = shutil.copytree(tiny_run, tmp_path / "other", ignore=shutil.ignore_patterns("carried"))
    save_prompts(other, only(load_prompts(other), [0, 1, 2]))
    with pytest.raises(ValueError, match="same classes"):
        open_session(tiny_run, data_root=tmp_path / "nowhere", against=other)


def test_the_address_names_the_way_through_ssh():
    told = address("127.0.0.1", 8123)
    assert "http://localhost:8123" in told and "ssh -L 8123:localhost:8123" in told
    assert "ssh" not in address("192.168.0.7", 8123) and "http://192.168.0.7:8123" in address(
        "192.168.0.7", 8123
    )


def test_a_port_in_use_is_told_before_anything_is_opened(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=f"port {port} is in use.*--port"):
            view(tmp_path / "no run", port=port)
    require_free("127.0.0.1", port)


@pytest.mark.parametrize("port", [0, 70000])
def test_a_port_that_is_none_is_refused(port):
    with pytest.raises(ValueError, match="expected 1 to 65535"):
        require_free("127.0.0.1", port)


def test_a_host_of_another_machine_is_refused():
    with pytest.raises(ValueError, match="cannot listen at 192.0.2.1"):
        require_free("192.0.2.1", 8123)


def test_without_viser_it_is_said_how_to_install_it(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name == "viser":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match=r"pip install 'clip2scene\[viewer\]'"):
        require_viser()


def test_a_viser_that_is_too_old_is_told_with_what_brings_it(monkeypatch):
    viser = pytest.importorskip("viser")
    require_viser()
    monkeypatch.delattr(viser.GuiApi, "main_panel")  # as viser 1.0 is
    with pytest.raises(ValueError, match="needs viser 1.1 or newer, got .* without py123d, which wants 1.0"):
        require_viser()


def test_the_command_serves_until_it_is_interrupted(tiny_run, tiny_toytown, monkeypatch):
    pytest.importorskip("viser")
    made, told = [], []

    class Page:
        def __init__(self, session, *, host, port):
            made.append((session, host, port))

        def stop(self):
            made.append("stopped")

    class Interrupted(threading.Event().__class__):
        def wait(self, timeout=None):
            raise KeyboardInterrupt

    monkeypatch.setattr("clip2scene.viewer.page.Page", Page)
    monkeypatch.setattr(module.threading, "Event", Interrupted)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    view(tiny_run, data_root=tiny_toytown, port=port, announce=told.append)
    assert made[0][1:] == ("127.0.0.1", port) and made[1] == "stopped"
    assert f"localhost:{port}" in told[0] and told[-1] == "closed the page"


def test_labels_are_given_to_training_samples_unless_another_split_is_named(tiny_run, tiny_toytown, tmp_path):
    folder = tmp_path / "by-hand"
    session = open_session(tiny_run, data_root=tiny_toytown, corrections=folder)
    assert session.source.split == "train" and session.corrections.folder == folder
    assert session.corrections.class_set == session.source.label_classes
    assert not folder.exists()
    plain = open_session(tiny_run, data_root=tiny_toytown)
    assert plain.source.split == "val" and plain.corrections is None


def test_single_clouds_have_no_names_for_labels_or_a_ranking(tiny_run, tmp_path):
    for option in ("corrections", "order"):
        with pytest.raises(ValueError, match=f"--{option} goes by the names of a data set's samples"):
            open_session(tiny_run, [tmp_path / "cloud.bin"], **{option: tmp_path})


def test_a_ranking_says_which_sample_is_labelled_next(tiny_run, tiny_toytown, tmp_path):
    path, source = (
        tmp_path / "order.json",
        open_session(tiny_run, data_root=tiny_toytown, split="train").source,
    )
    first, second = source.tokens
    for by, order, numbers in (
        ("keyframe", [second, first], [1, 0]),
        ("keyframe", [second], [1, 0]),
        ("scene", [source.scene_of(first)], [0, 1]),
    ):
        write_json(path, {"by": by, "order": order})
        assert order_of(source, path) == numbers
    write_json(path, {"by": "scene", "order": ["elsewhere"]})
    with pytest.raises(ValueError, match="ranks no scene of the split 'train'"):
        open_session(tiny_run, data_root=tiny_toytown, split="train", order=path)


def test_of_two_viewers_the_second_may_look_and_not_label(tmp_path):
    folder = tmp_path / "by-hand"
    with lock(folder) as first:
        assert first == ""
        with lock(folder) as second:
            assert "another viewer gives labels in" in second and "looked at alone" in second
        with lock(tmp_path / "other") as elsewhere:
            assert elsewhere == ""
    with lock(folder) as later:
        assert later == ""
    assert not folder.exists()


def test_a_folder_that_cannot_be_is_refused_before_anything_is_opened(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ValueError, match="labels cannot be written to .*; name another --corrections"):
        with lock(tmp_path / "file"):
            pass


def test_labels_that_are_not_saved_keep_the_page_open_for_once(tmp_path, monkeypatch):
    told = []

    class Interrupted(threading.Event().__class__):
        def wait(self, timeout=None):
            raise KeyboardInterrupt

    corrections = Corrections(tmp_path, TOYTOWN)
    monkeypatch.setattr(corrections, "save", lambda: "they are kept in memory alone")
    monkeypatch.setattr(module.threading, "Event", Interrupted)
    module._serve(corrections, told.append)
    assert told == [
        "they are kept in memory alone. Ctrl-C once more closes the page all the same",
        "closed the page",
    ]


def test_on_the_command_line_a_mistake_ends_in_one_sentence(call, tiny_run, tmp_path):
    pytest.importorskip("viser")
    (tmp_path / "cloud.npy").write_bytes(b"no cloud")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for words, said in (
        ((), "nothing to look at: name a data set by --data-root"),
        ((tmp_path / "cloud.npy",), "cloud.npy"),
        (("--data-root", tmp_path / "nowhere"), "nowhere"),
    ):
        code, _, err = call("view", tiny_run, *words, "--port", port)
        assert code == 1 and err.count("clip2scene: ") == 1 and said in err.splitlines()[-1]
