"""Packages a trained model for sharing, and uploads it to the Hub."""

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from huggingface_hub import HfApi, ModelCard, constants, get_token
from PIL import Image

from attnorm.errors import UserError
from attnorm.files import explained, folder_aside, network_problem
from attnorm.hub import DEFAULTS, PackageOptions
from attnorm.hub.card import LAYOUTS_FILE, SAMPLES_FILE, Facts, make_card, read_facts
from attnorm.models.pretrained import HUB_ERRORS, MODEL_FILES, find_model
from attnorm.pipelines import ClassConditionalPipeline
from attnorm.plots import label_grid, layout_sheet
from attnorm.shipped import CARD_FILE, CONFIG_FILE
from attnorm.training.run_folder import BEST, CONFIG
from attnorm.training.trained import find_trained

MAX_CLASSES, PER_CLASS, LAYOUT_ROWS = 10, 6, 5


def package(run: Path, out: Path, options: PackageOptions = DEFAULTS) -> Facts:
    """Writes the folder `out`: configuration, weights, sample images and README.md, the card. Returns its facts.

    `run` is a run, whose best model is taken if there is one, else its last; or one of its models, such as RUN/model.
    """
    folder = run / BEST if (run / BEST / CONFIG_FILE).is_file() else find_model(run)
    if not (folder.absolute().parent / CONFIG).is_file():
        raise UserError(f"{run} is neither a run nor a model in one ({CONFIG} is missing): give a run, or RUN/{BEST}")
    facts = read_facts(folder, replace(options, name=options.name or out.name))
    if out.exists():
        raise UserError(f"{out} exists already: remove it, or choose another name")
    with explained(f"cannot write {out}", "choose another name"), folder_aside(out) as partial:
        for name in MODEL_FILES:
            shutil.copyfile(folder / name, partial / name)
        pipe = find_trained(partial).pipeline("cpu")
        if isinstance(pipe, ClassConditionalPipeline):
            _save_samples(pipe, partial)
        elif facts.evaluations:
            shutil.copyfile(facts.evaluations[-1].sheet, partial / SAMPLES_FILE)
        parameters = sum(parameter.numel() for parameter in pipe.generator.parameters())
        make_card(facts, parameters, partial).save(partial / CARD_FILE)
    return facts


def push(source: Path, repository: str, options: PackageOptions = DEFAULTS, *, private: bool = False) -> str:
    """Uploads a packaged folder, or packages a run and uploads that, to ORGANISATION/NAME on the Hub. Returns the URL.

    Args:
        options: for a run; the card of a packaged folder is written already.
        private: for a new repository; an existing public one is refused.
    """
    if get_token() is None:
        raise UserError("not logged in to the Hugging Face Hub: run `hf auth login`, or set HF_TOKEN")
    if problem := network_problem(constants.ENDPOINT):
        raise UserError(f"cannot push to {repository}: {problem}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = source
        if (source / CONFIG).is_file():
            folder = Path(temporary) / "model"
            package(source, folder, replace(options, name=options.name or repository))
        elif not (source / CARD_FILE).is_file() or not ModelCard.load(source / CARD_FILE).data.datasets:
            raise UserError(f"{source} is not a run and has no model card: give a run, or `attnorm package` it first")
        elif options != DEFAULTS:
            raise UserError(f"{source} has a card already: edit its {CARD_FILE}, and leave the options out")
        find_trained(folder.resolve()).pipeline("cpu")  # a model that cannot be loaded is not uploaded
        api, files = HfApi(), [*MODEL_FILES, CARD_FILE, SAMPLES_FILE, LAYOUTS_FILE]
        try:
            url = str(api.create_repo(repository, private=private or None, exist_ok=True))
            if private and not api.repo_info(repository).private:
                raise UserError(f"{url} is public already: make it private there, or choose another name")
            api.upload_folder(repo_id=repository, folder_path=folder, allow_patterns=files)
        except HUB_ERRORS as error:
            raise UserError(f"cannot push to {repository}: {str(error).strip().splitlines()[0]}") from error
    return url


def _save_samples(pipe: ClassConditionalPipeline, folder: Path) -> None:
    """Saves `PER_CLASS` samples of each of the first classes, and some with their layouts if the generator has any."""
    names = pipe.class_names[:MAX_CLASSES]
    images = pipe.draw([label for label in range(len(names)) for _ in range(PER_CLASS)], seed=0).images
    Image.fromarray(label_grid(images, names, PER_CLASS)).save(folder / SAMPLES_FILE)
    samples = pipe.draw(list(names[:LAYOUT_ROWS]), seed=0)
    for layouts in samples.layouts.values():  # at most one layer
        sheet = layout_sheet(samples.images, layouts, names[:LAYOUT_ROWS])
        Image.fromarray(sheet).save(folder / LAYOUTS_FILE)
