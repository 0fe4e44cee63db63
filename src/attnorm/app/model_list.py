"""The models of the page: listed at the start, loaded on first use, used by one visitor at a time."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attnorm.errors import UserError
from attnorm.models.pretrained import Task, find_model, name_of, saved_config, task_of
from attnorm.pipelines import ClassConditionalPipeline
from attnorm.pipelines.inpainting import InpaintingPipeline

MOST_WAITING = 24  # visitors; Gradio has 40 threads in all
LOOK_EVERY = 0.1  # seconds between checks whether a waiting visitor has left
WITH_LAYOUT = "attentive_norm"
KINDS = {"attentive_norm": "AN", "contextual_attention": "CA", "self_attention": "SA", "none": "plain"}
KINDS_EXPLAINED = {
    "inpainting": "AN: attentive normalization, CA: contextual attention, plain: neither",
    "class-conditional": "AN: attentive normalization, SA: self-attention, plain: neither",
}


@dataclass(frozen=True)
class Model:
    """A saved model: its name on the page, folder, task and saved configuration."""

    name: str
    source: str
    task: Task
    config: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """The kind of the long-range layer, a key of `KINDS`."""
        layer = self.config.get("branch" if self.task == "inpainting" else "long_range")
        return str(layer.get("kind", "none")) if isinstance(layer, dict) else "none"

    @property
    def has_layout(self) -> bool:
        return self.kind == WITH_LAYOUT

    @property
    def title(self) -> str:
        """The model's entry in the list of models."""
        return f"{self.name} ({KINDS.get(self.kind, self.kind)})"

    @property
    def class_names(self) -> list[str]:
        """The class names of a class-conditional model."""
        names = self.config.get("class_names") or range(int(self.config.get("num_classes", 0)))
        return [str(name) for name in names]


def model_at(source: str | Path, name: str | None = None) -> Model:
    """The model of `find_model`; UserError if there is none, or it is damaged or neither generator nor inpainter."""
    found = find_model(source)
    config, task = saved_config(found), task_of(found)
    if task is None:
        raise UserError(f"{source} is neither a generator nor an inpainting model: give another")
    return Model(name or name_of(source), str(found), task, config)


def models_given(sources: Sequence[str]) -> list[Model]:
    """The models at `sources`; those with the same name are called by their paths. UserError as `model_at`."""
    sources = list(dict.fromkeys(sources))
    names = [name_of(source) for source in sources]
    pairs = zip(sources, names, strict=True)
    return [model_at(source, name if names.count(name) == 1 else source) for source, name in pairs]


def models_in(folder: Path) -> tuple[list[Model], list[str]]:
    """The models of the runs in a folder and its subfolders, and a message for each that is damaged."""
    found, complaints = [], []
    depths = ("*/config.json", "*/model/config.json", "*/*/model/config.json")
    configs = sorted({path for depth in depths for path in folder.glob(depth)})
    for config in configs:
        source = config.parent.parent if config.parent.name == "model" else config.parent
        try:
            found.append(model_at(source, source.relative_to(folder).as_posix()))
        except UserError as error:
            complaints.append(str(error))
    return found, complaints


class ModelList:
    """The models by name. Each is loaded on first use. One visitor at a time uses a model, and all others wait.

    Two models at once would need twice the memory and take as long. Layouts are recorded by hooks on the network, which
    would record another visitor's too.
    """

    def __init__(self, models: Sequence[Model], device: str = "cpu") -> None:
        self._models = {model.name: model for model in models}
        self._device = device
        self._in_use = threading.Lock()
        self._waiting = threading.BoundedSemaphore(MOST_WAITING)
        self._loaded: dict[str, InpaintingPipeline | ClassConditionalPipeline] = {}

    def models(self, task: Task, with_layout: bool = False) -> list[Model]:
        """The models in the given order."""
        return [m for m in self._models.values() if m.task == task and (m.has_layout or not with_layout)]

    def model(self, name: str | None) -> Model:
        """Raises a UserError if no model has this name."""
        if name not in self._models:
            raise UserError(f"there is no model {name!r} here: choose one of {', '.join(self._models) or 'none'}")
        return self._models[name]

    def inpainter(
        self, name: str | None, is_cancelled: Callable[[], bool] = lambda: False
    ) -> AbstractContextManager[InpaintingPipeline]:
        """A context with exclusive use of an inpainting model.

        Raises a UserError if there is no such model, its weights are damaged, too many wait, or the call is cancelled.
        """
        return self._held(name, "inpainting", InpaintingPipeline.from_pretrained, is_cancelled)

    def generator(self, name: str | None) -> AbstractContextManager[ClassConditionalPipeline]:
        """As `inpainter`, for a class-conditional model."""
        return self._held(name, "class-conditional", ClassConditionalPipeline.from_pretrained, lambda: False)

    @contextmanager
    def _held(
        self, name: str | None, task: Task, load: Callable[..., Any], is_cancelled: Callable[[], bool]
    ) -> Iterator[Any]:
        model = self.model(name)
        if model.task != task:
            raise UserError(f"{model.name} is a model of the task {model.task}, not {task}: choose another")
        with self._turn(is_cancelled):
            if model.name not in self._loaded:
                self._loaded[model.name] = load(model.source, device=self._device)
                self._loaded[model.name].set_progress_bar_config(disable=True)
            yield self._loaded[model.name]

    @contextmanager
    def _turn(self, is_cancelled: Callable[[], bool]) -> Iterator[None]:
        if not self._waiting.acquire(blocking=False):
            raise UserError(f"{MOST_WAITING} visitors are waiting already: try again later")
        try:
            while not self._in_use.acquire(timeout=LOOK_EVERY):
                if is_cancelled():
                    raise UserError("cancelled")
        finally:
            self._waiting.release()
        try:
            yield
        finally:
            self._in_use.release()
