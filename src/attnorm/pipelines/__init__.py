"""A trained model in, images out."""

from attnorm.pipelines.class_conditional import ClassConditionalPipeline as ClassConditionalPipeline
from attnorm.pipelines.inpainting import InpaintingPipeline as InpaintingPipeline
