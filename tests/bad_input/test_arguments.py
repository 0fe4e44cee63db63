"""The command line itself, and the arguments of every command that only looks at what is there."""

import pytest

CASES = [
    # the command
    ("trian", "unknown command 'trian'", "did you mean 'train'?"),
    ("--verbose", "unknown command '--verbose'", "see attnorm --help"),
    ("generate", "the following arguments are required: model", "see attnorm generate --help"),
    ("generate run -o out.png --cuont 3", "unrecognized arguments: --cuont 3"),
    ("generate run -o out.png --coun 3", "unrecognized arguments: --coun 3"),  # no guessing of abbreviations
    ("generate run -o", "argument -o/--out: expected one argument"),
    ("generate run -o ''", "argument -o/--out", "empty"),
    ("generate '' -o out.png", "argument model", "empty"),
    (["generate", "a" * 5000, "-o", "out.png"], "argument model", "too long"),
    (["generate", "run", "-o", "a" * 300 + ".png"], "argument -o/--out", "too long"),
    # evaluate
    ("evaluate nowhere", "there is no run or model at nowhere"),
    ("evaluate empty", "empty is neither a run nor a saved model"),
    ("evaluate file", "file is neither a run nor a saved model"),
    ("evaluate unfinished", "has saved no model yet", "first checkpoint"),
    ("evaluate model", "model is no run", "give --data"),
    ("evaluate model --data digits", "give --out FILE.json"),
    ("evaluate run --metrics fid", "unknown metric 'fid'", "fd"),
    ("evaluate run --metrics", "--metrics: expected at least one argument"),
    ("evaluate run --num 0", "--num must be at least 1, got 0"),
    ("evaluate run --num 1000000000000", "--num must be at most", "got 1000000000000"),
    ("evaluate run --num 2.5", "invalid int value: '2.5'"),
    ("evaluate run --num-real -1", "--num-real", "got -1"),
    ("evaluate run --seed -1", "--seed must be from 0"),
    ("evaluate run --classes some", "invalid choice: 'some'"),
    ("evaluate run --window gaussian", "--window is for inpainting models", "leave it out"),
    ("evaluate painter --num-real 5", "--num-real is for class-conditional models", "leave it out"),
    ("evaluate painter --num 0", "--num must be at least 1, got 0"),
    ("evaluate painter --num 1000000000000", "--num asks for 1000000000000 pictures"),
    ("evaluate painter --window square", "invalid choice: 'square'"),
    ("evaluate painter --metrics intra", "leave it out"),
    ("evaluate painter --seed 99999999999999999999", "--seed must be from 0"),
    ("evaluate run --out record.txt", "record.txt", "must end in .json"),
    ("evaluate run --out file/record.json --num 4", "file/record.json", "file is no folder"),
    ("evaluate painter --out file/record.json --num 4", "file/record.json", "file is no folder"),
    ("evaluate run --extractor vgg", "unknown extractor 'vgg'", "choose efficientnet-lite0"),
    ("evaluate run --extractor lost.pt", "lost.pt", "get it from"),
    ("evaluate run --data nowhere", "there is nothing at nowhere"),
    ("evaluate run --data prepared", "prepared at 16×16", "32×32", "attnorm data prepare"),
    ("evaluate run --device tpu", "PyTorch cannot use the device 'tpu'", "choose cpu"),
    ("evaluate run --device cuda", "PyTorch cannot use the device 'cuda'", "choose cpu"),
    ("evaluate painter --device ''", "device", "choose cpu"),
    # visualize
    ("visualize run", "one of these is required"),
    ("visualize run photo.png -o out.png", "completes no pictures", "leave photo.png out"),
    ("visualize painter -o out.png", "attnorm visualize MODEL IMAGE MASK"),
    ("visualize painter photo.png hole.png -o out.png --labels 3", "--labels is for class-conditional models"),
    ("visualize painter photo.png hole.png -o out.png --entities 99", "there is no entity 99", "0 to 3"),
    ("visualize painter photo.png hole.png -o photo.png", "photo.png exists already", "--force"),
    ("visualize run -o out.txt", "must end in an image format such as .png"),
    ("visualize run -o out.png --entities -1", "there is no entity -1", "0 to 3"),
    ("visualize run -o out.png --regions out.png", "different names"),
    ("visualize run --regions regions.doc", "must end in a format such as .png, .svg or .pdf"),
    ("visualize run -o file/out.png", "file is no folder"),
    ("visualize run --regions file/out.png", "file is no folder"),
    ("visualize run -o out.png --count 99999999999", "99999999999", "at most 1048576"),
    # interpolate
    ("interpolate run --labels 3 -o out.png", "--labels: expected 2 arguments"),
    ("interpolate run --labels 3 99 -o out.png", "there is no class 99", "0 to 9"),
    ("interpolate run --labels 3 7 -o out.png --frames 1", "at least 2, got 1"),
    ("interpolate run --labels 3 7 -o out.png --frames 99999999999", "got 399999999996", "at most 1048576"),
    ("interpolate run --labels 3 7 -o out.png --rows 0", "at least 1, got 0"),
    ("interpolate run --labels 3 7 -o out.png --entity 99", "there is no entity 99", "0 to 3"),
    ("interpolate run --labels 3 7 -o out.png --animation out.avi", "out.avi", "must end in .gif or .mp4"),
    ("interpolate run --labels 3 7 -o out.png --animation out.gif --seconds nan", "--seconds must be from 0.1 to 60"),
    ("interpolate run --labels 3 7 -o file/out.png", "file is no folder"),
    ("interpolate run --labels 3 7 -o out.gif --animation out.gif", "out.gif", "different names"),
    ("interpolate painter --labels 3 7 -o out.png", "painter is an inpainting model", "attnorm inpaint"),
    # reproduce
    ("reproduce table9 --out tables", "invalid choice: 'table9'"),
    ("reproduce table3 --out tables --extractor inception", "needs no feature network", "leave --extractor out"),
    ("reproduce table1 --out tables --val-data digits", "leave them out of table1"),
    ("reproduce table1 --out tables --scale paper", "needs --data"),
    ("reproduce table1 --out tables --steps 0", "--steps must be at least 1"),
    ("reproduce table1 --out tables --seeds 1 1", "names a seed twice"),
    ("reproduce table1 --out tables --seeds -1", "seed", "from 0"),
    ("reproduce table1 --out tables --seeds x", "invalid int value: 'x'"),
    ("reproduce table1 --out tables --data nowhere", "there is nothing at nowhere"),
    (["reproduce", "table1", "--out", "tables", "--launcher", "'"], "--launcher", "quotation"),
    ("reproduce table1 --out tables --launcher no-such-program", "no-such-program", "--launcher"),
    ("reproduce table1 --out file", "file is no folder"),
    # bench
    ("bench", "the following arguments are required"),
    ("bench layer --sizes 1", "sizes.0", "greater than or equal to 2"),
    ("bench layer --sizes 10000000", "sizes.0", "less than or equal to 4096"),
    ("bench layer --batch 0", "batch", "greater than or equal to 1"),
    ("bench layer --rounds -3", "rounds", "greater than or equal to 1"),
    ("bench layer --limit 0", "limit", "greater than 0"),
    ("bench layer --dtype float16", "invalid choice: 'float16'"),
    ("bench layer --device cuda", "needs a GPU", "--device cpu"),
    ("bench layer --sizes 4 --json file/figures.json", "file is no folder"),
    # package, push
    ("package nowhere out", "there is no run or model at nowhere"),
    ("package run '' ", "argument FOLDER", "empty"),
    ("package run out --licence ''", "argument --licence", "empty"),
    ("package run empty", "empty exists already"),
    ("push '' me/digits", "argument RUN", "empty"),
    # export, models, contact-sheet, completion, app
    ("export run -o out.bin", "out.bin", "must end in"),
    ("export nowhere -o out.pt2", "there is no run or model at nowhere"),
    ("export run -o photo.png", "photo.png exists already", "--force"),
    ("models an-gan-digts", "no model 'an-gan-digts' comes with attnorm", "an-gan-digits"),
    ("contact-sheet run -o out.png --inpainter ''", "argument --inpainter", "empty"),
    ("contact-sheet run -o out.txt", "must end in an image format such as .png"),
    ("contact-sheet run -o photo.png", "photo.png exists already"),
    ("contact-sheet nowhere -o out.png", "there is no run or model at nowhere"),
    ("completion tcsh", "invalid choice: 'tcsh'"),
    ("app ''", "argument RUN_OR_MODEL", "empty"),
    ("app nowhere --port 47861", "there is no run or model at nowhere"),
    ("app run --port 0", "--port must be from 1 to 65535, got 0"),
    ("app run --share", "--share gives everybody", "--public"),
    # doctor, presets
    ("doctor now", "unrecognized arguments: now"),
    ("presets an-gan-digts", "unknown preset 'an-gan-digts'", "did you mean 'an-gan-digits'?"),
    ("presets an-gan-digits more", "unrecognized arguments: more"),
]


def _name(case):
    command = case[0] if isinstance(case[0], str) else " ".join(case[0])
    return command[:80]


@pytest.mark.parametrize("case", CASES, ids=_name)
def test_a_mistake_is_one_line_and_touches_nothing(case, refused):
    refused(*case)


ENVIRONMENTS = [
    ({"WORLD_SIZE": "many"}, "WORLD_SIZE is 'many'"),
    ({"WORLD_SIZE": ""}, "WORLD_SIZE is ''"),
    ({"LOCAL_RANK": "x", "WORLD_SIZE": "2", "RANK": "1", "MASTER_PORT": "1"}, "LOCAL_RANK is 'x'"),
    ({"LOCAL_RANK": "0"}, "WORLD_SIZE is not set"),
    ({"WORLD_SIZE": "2"}, "RANK is not set"),
    ({"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1"}, "MASTER_PORT is not set"),
    (
        {"WORLD_SIZE": "2", "RANK": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"},
        "RANK is '2', and must be a number from 0 to 1",
    ),
    (
        {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "a"},
        "MASTER_PORT is 'a'",
    ),
]


@pytest.mark.parametrize("case", ENVIRONMENTS, ids=str)
def test_an_environment_that_is_not_torchruns_is_named(case, refused, monkeypatch):
    """As of a shell where somebody set one of its variables."""
    variables, part = case
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for line in ("train an-gan-digits --data digits --out new", "resume run", "evaluate run --num 4"):
        refused(line, part, "start several with torchrun, or unset WORLD_SIZE, RANK, LOCAL_RANK")
