"""The network for video instance segmentation: stem, backbone, query decoder, mask head."""

from __future__ import annotations

from torch import Tensor, nn

from lightvid.annotations import InstanceTargets
from lightvid.attention.cross import Memory
from lightvid.backbone import SpatioTemporalTransformer
from lightvid.errors import ConfigurationError
from lightvid.heads import QueryDecoder, RegionClassifier
from lightvid.heads.queries import valid_part
from lightvid.heads.region_classifier import annotated_regions
from lightvid.networks.instance_output import InstanceOutput, InstancePrediction


class InstanceSegmenter(nn.Module):
    """Find, classify, segment and track every instance of a clip (VisTR, Wang et al., CVPR 2021).

    Args:
        stem: frames `(B, T, 3, H, W)` and padding to a `PyramidOutput`, such as `ImageStem`.
        backbone: the encoder, tokens to tokens.
        decoder: instances from tokens.
        mask_head: makes the masks, such as `SequenceMaskHead` or `DynamicMaskHead`.
        region_classifier: corrects the last layer's classes by what lies inside its boxes and masks.
    """

    def __init__(
        self,
        stem: nn.Module,
        backbone: SpatioTemporalTransformer,
        decoder: QueryDecoder,
        mask_head: nn.Module,
        *,
        region_classifier: RegionClassifier | None = None,
    ) -> None:
        super().__init__()
        for name, part in (("stem", stem), ("decoder", decoder)):
            if part.channels != backbone.channels:
                raise ConfigurationError(
                    f"the {name} has {part.channels} channels and the backbone {backbone.channels}: give both the same"
                )
        given, wanted = list(stem.feature_channels), list(mask_head.feature_channels)  # type: ignore[arg-type]
        if given != wanted:
            raise ConfigurationError(
                f"the mask head takes maps of {wanted} channels and the stem gives {given}:"
                f" set mask_head.feature_channels to {given}"
            )
        self.stem = stem
        self.backbone = backbone
        self.decoder = decoder
        self.mask_head = mask_head
        self.region_classifier = region_classifier
        if decoder.classes is not None:
            self.set_classes(decoder.classes)

    def set_classes(self, classes: int) -> None:
        """Make the parts that depend on the number of classes, where that is known only from the data.

        Raises:
            ConfigurationError: they are made for another number.
        """
        self.decoder.set_classes(classes)
        if self.region_classifier is not None and self.region_classifier.classes is None:
            self.region_classifier.set_classes(self.decoder.number_of_logits)

    def forward(
        self,
        frames: Tensor,
        padding_mask: Tensor | None = None,
        *,
        targets: list[InstanceTargets] | None = None,
    ) -> InstanceOutput:
        """Segment clips.

        Args:
            frames: `(B, T, 3, H, W)`, with ImageNet's mean and deviation, 0 in the padding.
            padding_mask: `(B, T, H, W)` bool, True for pixels right of or below the picture that only fill a batch.
            targets: in training, for the region classifier, which then also classifies the annotated regions:
                `extra["regions"]`, see `RegionLoss`.
        """
        _check(frames, padding_mask)
        tokens, features, padding = self.stem(frames, padding_mask)
        tokens = self.backbone(tokens, padding=padding, overwrite_x=True)
        encode = getattr(self.backbone.positions, "encode", None)
        positions = None if encode is None else encode(tokens, padding)
        decoded = self.decoder(Memory(tokens, positions, padding))
        masks = self.mask_head(decoded.queries, decoded.boxes[-1], tokens, features, padding)
        layers = [InstancePrediction(*layer) for layer in zip(decoded.logits, decoded.boxes, strict=True)]
        logits, boxes = layers[-1]
        if self.region_classifier is not None:
            part = None if padding is None else valid_part(padding)
            logits = logits + self.region_classifier(boxes, masks, features, part).float()
            if targets is not None:
                decoded.extra["regions"] = self.region_classifier(*annotated_regions(targets), features, part)
        return InstanceOutput(logits, boxes, masks.float(), layers[:-1], decoded.extra)


def _check(frames: Tensor, padding: Tensor | None) -> None:
    if frames.dim() != 5 or frames.shape[2] != 3:
        raise ValueError(f"expected frames (B, T, 3, H, W), got {tuple(frames.shape)}")
    expected = (*frames.shape[:2], *frames.shape[3:])
    if padding is not None and tuple(padding.shape) != expected:
        raise ValueError(f"expected a padding mask {expected} for these frames, got {tuple(padding.shape)}")
