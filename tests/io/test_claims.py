import threading
import time
from uuid import uuid4

import pytest

from clip2scene.io import open_store
from clip2scene.io.claims import Claims


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture(params=["folder", "memory"])
def store(request, tmp_path):
    return open_store(tmp_path if request.param == "folder" else f"memory://{uuid4()}")


def share(store, parts=3, clock=None, lease_s=60.0):
    return Claims(store, "claims/work", parts, lease_s=lease_s, clock=clock or time.monotonic)


def test_a_part_is_claimed_by_one(store):
    with share(store) as one, share(store) as other:
        assert [one.take(), other.take(), one.take()] == [0, 1, 2]
        assert one.take() is None and other.take() is None


def test_many_at_once_do_every_part_once(tmp_path):
    store, did = open_store(tmp_path), []

    def go():
        with share(store, parts=20) as claims:
            while (part := claims.take()) is not None:
                did.append(part)
                claims.finish(part)

    threads = [threading.Thread(target=go) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(did) == list(range(20))


def test_what_others_have_done_is_seen_and_the_last_one_removes_all_traces(store):
    with share(store, parts=2) as one, share(store, parts=2) as other:
        one.take(), other.take()
        one.finish(0)
        assert not one.all_done()
        other.look(at_once=True)
        assert other.done == {0} and other.take() is None
        other.finish(1)
        one.look(at_once=True)
        assert one.all_done() and store.names() == []
        other.look(at_once=True)  # what was seen to be done is not forgotten
        assert other.all_done() and other.take() is None


def test_a_claim_that_is_not_renewed_is_taken_over_after_its_lease_and_by_one(store):
    clock = Clock()
    killed, one, other = (share(store, parts=1, clock=clock) for _ in range(3))
    assert killed.take() == 0  # its claims are never kept alive
    assert one.take() is None and len(one.others) == 1
    clock.now = 59.0
    assert one.take() is None and other.take() is None
    clock.now = 61.0
    assert one.take() == 0 and one.others == ()
    assert other.take() is None  # it has seen neither claim for a whole lease
    one.finish(0)
    assert one.all_done() and store.names() == []


def test_a_claim_that_is_renewed_is_left_to_its_holder_however_long_it_takes(store):
    with share(store, parts=1, lease_s=0.4) as holder:
        assert holder.take() == 0
        waits = share(store, parts=1, lease_s=0.4)
        for _ in range(12):
            assert waits.take() is None
            time.sleep(0.1)


def test_a_process_that_ends_early_gives_its_claims_back(store):
    with pytest.raises(KeyboardInterrupt), share(store) as one:
        one.take(), one.take()
        one.finish(0)
        raise KeyboardInterrupt
    other = share(store)
    assert other.take() == 1 and other.done == {0}


def test_strange_names_and_contents_in_the_folder_stop_nothing(store):
    for name in ("x.done", "9.done", "0.other", "\u0664x.0", "0000001.0"):
        store.write(f"claims/work/{name}", b"\xff" * 10)
    other = share(store)
    assert [other.take(), other.take(), other.take()] == [0, 2, None] and other.done == set()
