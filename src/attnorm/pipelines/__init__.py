"""Pipelines: from a trained model to images."""

from attnorm.pipelines.class_conditional import ClassConditionalPipeline as ClassConditionalPipeline
from attnorm.pipelines.inpainting import InpaintingPipeline as InpaintingPipeline
