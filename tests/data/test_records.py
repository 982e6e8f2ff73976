"""Data sets on disk: what is written is read, runs resume, hosts share, and nothing is there by halves."""

import json
import pickle

import numpy as np
import pytest

from shotverse_jax.data.loader import batches
from shotverse_jax.data.records import SHARD_RECORDS, Records, alone, pack, unpack, write_dataset, write_shard

SETTINGS = {"source": "counting", "size": (2, 3)}
COUNT = 2 * SHARD_RECORDS + 5


class Counting:
    """Record i says i; the bad ones raise, and `read` remembers what was asked for."""

    def __init__(self, count=COUNT, bad=()):
        self.count, self.bad, self.read = count, bad, []

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        self.read.append(index)
        if index in self.bad:
            raise ValueError(f"item {index} is bad")
        return {"array": np.full((2, 3), index, np.int32), "text": f"record {index} – é\n"}


def numbers(records):
    return [int(records[i]["array"][0, 0]) for i in range(len(records))]


def test_a_record_comes_back_as_it_was():
    record = {
        "video": np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), np.uint8),
        "latents": np.linspace(-9, 9, 12).astype(np.float16).reshape(3, 4).T,
        "pose": np.float32([[1.5, np.pi]]),
        "shot": np.arange(12, dtype=np.int32)[::4],
        "none": np.zeros((0,), np.int32),
        "one": np.float32(3.5),
        "prompt": '[global caption] Ein "Café" 東京 [shot cut]',
        "empty": "",
    }
    back = unpack(pack(record))
    assert back.keys() == record.keys()
    for name, value in record.items():
        if isinstance(value, str):
            assert back[name] == value
        else:
            assert back[name].dtype == value.dtype
            np.testing.assert_array_equal(back[name], value)


def test_equal_records_are_equal_bytes():
    """A data set that was stopped and gone on with is byte for byte the one of an uninterrupted run."""
    record = {name: np.arange(3) for name in "fedcba"} | {name: "é" for name in "zyx"}
    assert pack(record) == pack(dict(reversed(record.items())))


def test_each_process_of_a_data_set_is_there_once(tmp_path):
    with (
        alone(tmp_path / "one"),
        pytest.raises(ValueError, match="another process is writing"),
        alone(tmp_path / "one"),
    ):
        pass
    with alone(tmp_path, 0, 2), alone(tmp_path, 1, 2):
        for process, processes in ((0, 2), (0, 1)):
            with pytest.raises(ValueError, match="another process is writing"), alone(tmp_path, process, processes):
                pass
    assert not list(tmp_path.glob("*"))


def test_what_is_written_is_read_in_order(tmp_path):
    assert write_dataset(tmp_path / "new" / "set", Counting(), SETTINGS) == (COUNT, [], [], False)
    records = Records(tmp_path / "new" / "set")
    assert numbers(records) == list(range(COUNT))
    assert records[7]["text"] == "record 7 – é\n"
    assert records.settings == {"source": "counting", "size": [2, 3]}
    for index in (COUNT, -1):
        with pytest.raises(IndexError):
            records[index]


def test_records_are_a_source_for_grain_and_its_workers(tmp_path):
    write_dataset(tmp_path, Counting(), SETTINGS)
    records = Records(tmp_path)
    records[0]  # open
    assert numbers(pickle.loads(pickle.dumps(records))) == list(range(COUNT))
    for workers in (0, 1):
        loaded = [int(record["array"][0, 0]) for record in batches(records, start=COUNT - 9, workers=workers)]
        assert loaded == list(range(COUNT - 9, COUNT))


def test_a_run_goes_on_where_it_stopped(tmp_path):
    class Broken(Exception):
        pass

    def breaks_in_the_second_shard(records):
        for record in records:
            if int(record["array"][0, 0]) >= SHARD_RECORDS + 3:
                raise Broken
            yield record

    with pytest.raises(Broken):
        write_dataset(tmp_path, Counting(), SETTINGS, breaks_in_the_second_shard)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000-of-00003.arrayrecord", "dataset.json"]
    with pytest.raises(ValueError, match="1 of 3 shards"):
        Records(tmp_path)
    rest = Counting()
    write_dataset(tmp_path, rest, SETTINGS)
    assert rest.read == list(range(SHARD_RECORDS, COUNT))
    assert numbers(Records(tmp_path)) == list(range(COUNT))


def test_a_shard_that_breaks_while_it_is_written_is_not_there(tmp_path):
    def records():
        yield {"array": np.zeros(3)}
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        write_shard(tmp_path / "a.arrayrecord", records())
    assert not list(tmp_path.iterdir())


def test_hosts_share_the_shards(tmp_path):
    asked = []
    for host in range(2):
        source = Counting()
        write_dataset(tmp_path, source, SETTINGS, host=host, num_hosts=2)
        asked.append(source.read)
    assert asked[1] == list(range(SHARD_RECORDS, 2 * SHARD_RECORDS))
    assert sorted(asked[0] + asked[1]) == list(range(COUNT))
    assert numbers(Records(tmp_path)) == list(range(COUNT))
    with pytest.raises(ValueError, match="numbered from 0"):
        write_dataset(tmp_path, Counting(), SETTINGS, host=2, num_hosts=2)


def test_bad_items_are_left_out_and_listed(tmp_path):
    bad = {3, *range(SHARD_RECORDS, 2 * SHARD_RECORDS)}  # one, and a whole shard
    for again in range(2):  # what was there before is counted too
        written = write_dataset(tmp_path, Counting(bad=bad), SETTINGS)
        assert (written.records, len(written.skipped), written.changed) == (COUNT - len(bad), len(bad), []), again
    assert numbers(Records(tmp_path)) == sorted(set(range(COUNT)) - bad)
    listed = [json.loads(line) for line in (tmp_path / "skipped.jsonl").read_text().splitlines()]
    assert [entry["index"] for entry in listed] == sorted(bad) and listed[0]["reason"] == "item 3 is bad"


def test_what_several_processes_leave_out_is_one_list(tmp_path):
    bad = {3, SHARD_RECORDS + 1}
    first = write_dataset(tmp_path, Counting(bad=bad), SETTINGS, host=1, num_hosts=2)
    assert [note["index"] for note in first.skipped] == [SHARD_RECORDS + 1] and first.records == SHARD_RECORDS - 1
    assert not (tmp_path / "skipped.jsonl").exists()  # another process is not done
    write_dataset(tmp_path, Counting(bad=bad), SETTINGS, host=0, num_hosts=2)
    listed = [json.loads(line) for line in (tmp_path / "skipped.jsonl").read_text().splitlines()]
    assert [entry["index"] for entry in listed] == sorted(bad)


def test_a_data_set_without_records_says_where_the_reasons_are(tmp_path):
    assert write_dataset(tmp_path, Counting(3, bad={0, 1, 2}), SETTINGS).empty
    with pytest.raises(ValueError, match="no records; skipped.jsonl"):
        Records(tmp_path)


def test_changes_are_listed(tmp_path):
    source = [{"name": f"scene {i}", "changes": "resized" if i else "", "array": np.zeros(2)} for i in range(2)]
    changed = [{"index": 1, "name": "scene 1", "changes": "resized"}]
    assert write_dataset(tmp_path, source, SETTINGS).changed == changed
    assert [json.loads(line) for line in (tmp_path / "changed.jsonl").read_text().splitlines()] == changed


def test_other_settings_are_refused(tmp_path):
    write_dataset(tmp_path, Counting(3), SETTINGS)
    again = Counting(3)
    write_dataset(tmp_path, again, {"size": [2, 3], "source": "counting"})  # the same, as JSON has it
    assert again.read == []
    with pytest.raises(ValueError, match=r"other settings, \{'size': \[2, 3\]\}"):
        write_dataset(tmp_path, again, SETTINGS | {"size": (2, 4)})
    with pytest.raises(ValueError, match="other settings"):
        write_dataset(tmp_path, again, SETTINGS | {"more": 1})
    assert again.read == []


def test_a_folder_that_is_no_data_set_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no data set"):
        Records(tmp_path)
    write_dataset(tmp_path, Counting(3), SETTINGS)


@pytest.mark.parametrize("place", ["cut off", "within"])
def test_a_damaged_shard_is_refused_by_name(tmp_path, place):
    write_dataset(tmp_path, Counting(), SETTINGS)
    shard = tmp_path / "00001-of-00003.arrayrecord"
    data = bytearray(shard.read_bytes())
    if place == "cut off":
        data = data[:100]
    else:
        data[1000:1200] = bytes(byte ^ 255 for byte in data[1000:1200])
    shard.write_bytes(data)
    with pytest.raises(ValueError, match=r"00001-of-00003\.arrayrecord cannot be read: it is damaged"):
        numbers(Records(tmp_path))
