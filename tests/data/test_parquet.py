"""Finding images and classes in parquet files."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from attnorm.data.choice import Choice
from attnorm.data.sources import open_source
from attnorm.errors import UserError
from tests.data.conftest import encoded


def png(value=0):
    return encoded(Image.new("RGB", (4, 4), (value, 0, 0)))


def hugging_face_table(labels, names=None, **more):
    table = pa.table({"image": [{"bytes": png(i), "path": None} for i in range(len(labels))], "label": labels, **more})
    if names is None:
        return table
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def read(source):
    return [(name, label) for (name, _), label in zip(source.read(), source.labels.tolist(), strict=True)]


def test_parquet_with_hugging_face_names(tmp_path):
    pq.write_table(hugging_face_table([1, 0, 1], ["cat", "dog"]), tmp_path / "a.parquet")
    source = open_source(tmp_path / "a.parquet")
    assert (source.class_names, source.labels.tolist()) == (("cat", "dog"), [1, 0, 1])
    assert list(source.read()) == [(f"a.parquet row {row}", png(row)) for row in range(3)]
    pq.write_table(hugging_face_table([1], ["dog", "cat"]), tmp_path / "b.parquet")
    with pytest.raises(UserError, match=r"b\.parquet names its classes differently than .*a\.parquet"):
        open_source(tmp_path)


def test_a_folder_of_parquet_files_is_read_in_order_across_row_groups(tmp_path):
    for name, labels in [("b", [0, 1]), ("a", list(range(5)) * 30)]:
        pq.write_table(hugging_face_table(labels), tmp_path / f"{name}.parquet", row_group_size=40)
    source = open_source(tmp_path)
    assert source.class_names == ("0", "1", "2", "3", "4")
    assert [label for _, label in read(source)] == list(range(5)) * 30 + [0, 1] == source.labels.tolist()
    assert [name for name, _ in read(source)][149:] == ["a.parquet row 149", "b.parquet row 0", "b.parquet row 1"]


@pytest.mark.parametrize("stored", [pa.array, lambda values: pa.array(values).dictionary_encode()])
def test_a_binary_column_and_string_labels_also_stored_as_a_dictionary(tmp_path, stored):
    table = pa.table({"img": stored([png(0), png(1), png(0)]), "class": stored(["zebra", "ant", "zebra"])})
    pq.write_table(table, tmp_path / "a.parquet")
    source = open_source(tmp_path / "a.parquet")
    assert source.class_names == ("ant", "zebra")
    assert [content for _, content in source.read()] == [png(0), png(1), png(0)]
    assert source.labels.tolist() == [1, 0, 1]


def test_a_struct_without_bytes_falls_back_to_its_path(tmp_path):
    cells = [{"bytes": None, "path": "a.png"}, {"bytes": None, "path": None}]
    column = pa.array(cells, pa.struct({"bytes": pa.binary(), "path": pa.string()}))
    pq.write_table(pa.table({"image": column}), tmp_path / "a.parquet")
    assert [content for _, content in open_source(tmp_path / "a.parquet").read()] == [tmp_path / "a.png", b""]


@pytest.mark.parametrize(
    "columns, options, problem",
    [
        ({"text": ["x"], "label": [0]}, {}, "0 image columns"),
        ({"image": [png()]}, {"image_column": "img"}, "no image column 'img'.* from 'image'"),
        ({"image": [png()], "label": [0]}, {"label_column": "kind"}, "no label column 'kind'.* from 'label'"),
        ({"image": [png()] * 2, "label": [0, 10**12]}, {}, "labels from 0 to 1000000000000.*number them from 0"),
        ({"image": [png()], "label": pa.array([None], pa.int64())}, {}, "rows without a class"),
        ({"image": pa.array([], pa.binary()), "label": pa.array([], pa.int64())}, {}, "no rows"),
    ],
)
def test_unusable_columns_are_explained(tmp_path, columns, options, problem):
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=problem):
        open_source(tmp_path / "a.parquet", Choice(**options))


def test_the_splits_of_file_names_are_not_mixed(tmp_path):
    for name, labels in (("data/train-00000-of-00002", [0]), ("data/train-00001-of-00002", [1]), ("data/test-0", [1])):
        (tmp_path / "data").mkdir(exist_ok=True)
        pq.write_table(hugging_face_table(labels, ["cat", "dog"]), tmp_path / f"{name}.parquet")
    source = open_source(tmp_path)
    assert source.labels.tolist() == [0, 1]
    assert source.notices == ["reading the split train; not read (--split): 1 file of test"]
    test = open_source(tmp_path, Choice(split="test"))
    assert (test.class_names, test.labels.tolist()) == (("dog",), [0])
    assert test.notices[-1] == "left out 1 of 2 classes, for lack of images: 'cat'"
    assert len(open_source(tmp_path / "data/test-0.parquet").labels) == 1


def test_a_set_on_the_hub_is_read_from_its_parquet_branch(tmp_path, monkeypatch):
    """With a stub: nothing here has a network."""
    files = [f"{name}/0000.parquet" for name in ("default/train", "default/test", "tiny/train")]
    for number, file in enumerate(files):
        (tmp_path / file).parent.mkdir(parents=True)
        pq.write_table(hugging_face_table([number]), tmp_path / file)

    def download(name, *, repo_type, revision, allow_patterns):
        assert (name, repo_type, revision) == ("some/set", "dataset", "refs/convert/parquet")
        if name == "some/set" and allow_patterns != ["default/train/0000.parquet"]:
            raise OSError("cut off\ntry later")
        return str(tmp_path)

    monkeypatch.setattr("attnorm.data.sources.network_problem", lambda _: None)
    monkeypatch.setattr("huggingface_hub.HfApi.list_repo_files", lambda *_, **options: ["README.md", *files])
    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    with pytest.raises(UserError, match=r"give one configuration, as hf:.*:NAME, of 'default', 'tiny'"):
        open_source("hf:some/set")
    source = open_source("hf:some/set:default")
    assert source.class_names == ("0",)
    assert source.notices[0] == "reading the split train; not read (--split): 1 file of test"
    with pytest.raises(UserError, match=r"hf:some/set:tiny cannot be loaded from the Hub: cut off$"):
        open_source("hf:some/set:tiny")


@pytest.mark.promise
def test_parquet_is_streamed(tmp_path, monkeypatch):
    """Reading the first image must not read the whole file."""
    table = hugging_face_table([0] * 500)
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=100)
    rows = []
    whole = pq.ParquetFile.iter_batches

    def counted(self, **options):
        for batch in whole(self, **options):
            rows.append(batch.num_rows)
            yield batch

    source = open_source(tmp_path / "a.parquet")
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counted)
    next(source.read())
    assert 0 < sum(rows) <= 100
