import pytest
import torch

from lightvid.heads import ConvDecoder, SoftCompositionDecoder


def make(**options):
    return SoftCompositionDecoder(12, features=8, hidden=4, **options)


def tokens_and_features(rows=2, columns=3):
    return torch.randn(1, 2, rows, columns, 12), torch.randn(1, 2, 3 * rows, 3 * columns, 8)


def test_it_decodes_the_features_plus_what_the_tokens_add():
    head = make()
    tokens, features = tokens_and_features()
    head.composition.bias.data.zero_()
    torch.testing.assert_close(head(0 * tokens, features), head.decoder(features))
    assert head(tokens, features).shape == (1, 2, 3, 24, 36)
    assert not torch.allclose(head(tokens, features), head.decoder(features))


def test_the_bias_map_is_added_to_the_features():
    head = make(bias_map=(6, 9))
    head.bias_map.data = torch.randn(8, 6, 9)
    tokens, features = tokens_and_features()
    plain = make()
    plain.load_state_dict(head.state_dict(), strict=False)
    torch.testing.assert_close(head(tokens, features), plain(tokens, features + head.bias_map.permute(1, 2, 0)))


@pytest.mark.parametrize("bias_map", [None, (6, 9), (4, 4)])
def test_inference_and_recomputing_give_what_training_gives(bias_map):
    head = make(bias_map=bias_map)
    tokens, features = tokens_and_features()
    expected, before = head(tokens, features), features.clone()
    with torch.no_grad():
        torch.testing.assert_close(head(tokens, features), expected)
    assert torch.equal(features, before)
    head.decoder.recompute = True
    torch.testing.assert_close(head(tokens, features), expected)


def test_a_stem_without_features_is_refused():
    with pytest.raises(ValueError, match="needs the features of a soft split stem"):
        make()(torch.randn(1, 2, 2, 3, 12))


def test_the_decoders_last_layers_may_be_of_any_width():
    widths = [layer.out_channels for layer in ConvDecoder(128, hidden=64).layers if hasattr(layer, "out_channels")]
    assert widths == [128, 64, 64, 3]
