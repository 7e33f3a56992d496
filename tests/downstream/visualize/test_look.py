"""Maps lie where they belong: a patch that stands out in the picture stands out there, whatever is drawn at random."""

import pytest
import torch

from ecamp_fast.config import load_recipe
from ecamp_fast.downstream.visualize.look import encode_whole, look, map_of, require_looks
from ecamp_fast.downstream.visualize.queries import Query
from ecamp_fast.errors import ConfigError
from ecamp_fast.model.ecamp import Ecamp, image_tokens
from ecamp_fast.model.sequences import SequenceLayout

SMALL = ["model.vision.width=24", "model.vision.depth=1", "model.text.width=32", "model.text.depth=1"]


@pytest.fixture
def model() -> Ecamp:
    torch.manual_seed(0)
    return Ecamp(load_recipe("demo", SMALL), 50).eval()


def brightness_alone(model: Ecamp) -> None:
    """Tokens tell how bright their patch is and nothing else; every word looks for the bright ones."""
    encoder, decoder = model.encoder, model.text
    with torch.no_grad():
        encoder.positions.zero_()
        encoder.class_token.zero_()
        for block in encoder.blocks:
            for name in ("proj", "fc2"):
                getattr(block, name).weight.zero_()
                getattr(block, name).bias.zero_()
        encoder.patch.weight.zero_()
        encoder.patch.weight[0] = 1.0 / 16
        encoder.patch.bias.copy_(torch.linspace(-1, 1, 24))
        decoder.bridge.weight.copy_(torch.eye(32, 24))
        fusion = decoder.fusion
        fusion.query.weight.zero_()
        fusion.query.bias.fill_(1.0)
        fusion.key_value.weight.zero_()
        fusion.key_value.bias.zero_()
        fusion.key_value.weight[:32, 0] = 1.0


@pytest.mark.parametrize("place", [(0, 0), (1, 3), (4, 2), (5, 5)])
def test_a_bright_patch_shows_at_its_true_place(model: Ecamp, place: tuple[int, int]) -> None:
    brightness_alone(model)
    grid, side = model.recipe.grid, model.recipe.image.high_size
    size = side // grid
    image = torch.full((1, 1, side, side), 60, dtype=torch.uint8)
    row, column = place
    image[..., row * size : (row + 1) * size, column * size : (column + 1) * size] = 220
    (found,) = look(model, encode_whole(model, image)[0], [torch.tensor([2, 7, 8, 9])])
    heads = map_of(found, Query("a word", (2, 3)))
    assert heads.shape == (model.recipe.model.text.heads, grid * grid)
    for values in heads:
        assert divmod(int(values.argmax()), grid) == place


def test_maps_do_not_depend_on_the_texts_and_images_beside(model: Ecamp) -> None:
    images = torch.randint(256, (40, 1, 192, 192), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = images[..., : model.recipe.image.high_size, : model.recipe.image.high_size]
    texts = [torch.tensor([2, 7]), torch.tensor([2, 9, 9, 11, 30]), torch.tensor([2])]
    latent = encode_whole(model, images)
    with torch.no_grad():
        alone = image_tokens(model.encoder, model.recipe, images[35:36])
        one = SequenceLayout.equal(1, 5)
        by_itself = model.text.cross_attention(texts[1], alone, one, one)
    found = look(model, latent[35], texts)
    assert [len(rows) for rows in found] == [2, 5, 1]
    torch.testing.assert_close(found[1], by_itself)
    for rows in found:
        torch.testing.assert_close(rows.sum(-1), torch.ones(rows.shape[:2]))


def test_pieces_of_a_word_count_alike() -> None:
    rows = torch.rand(6, 2, 9).softmax(-1)
    torch.testing.assert_close(map_of(rows, Query("w", (1, 4))), (rows[1] + rows[4]) / 2)


def test_a_model_whose_words_look_at_nothing_is_refused() -> None:
    for change, why in (("losses.mlm=false", "no text side"), ("fusion.use_local=false", "no word looks at single")):
        with pytest.raises(ConfigError, match=why):
            require_looks(Ecamp(load_recipe("demo", [*SMALL, change]), 50))
