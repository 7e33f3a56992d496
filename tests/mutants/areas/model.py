"""The network: which patches it sees, their places, fusion with the text, tied embeddings, how it starts."""

from typing import Any

from mutant import mutants


def a_model() -> Any:
    """Losses, gradients and what people are shown, of small models with random weights."""
    import torch

    from ecamp_fast.bench.data.synthetic import synthetic_batch
    from ecamp_fast.config import load_recipe
    from ecamp_fast.model.ecamp import Ecamp
    from ecamp_fast.model.vision import unpatchify
    from ecamp_fast.text.packing.layout import Capacity

    small = (
        "image.high_size=64",
        "image.low_size=32",
        "text.max_tokens=24",
        "model.vision={width: 16, depth: 2, heads: 2, patch: 8}",
        "model.decoder={width: 8, depth: 1, heads: 2}",
        "model.text={width: 12, depth: 2, heads: 3, ffn: 20, dropout: 0.2}",
        "precision=fp32",
    )
    out = []
    for name, *overrides in (
        ("paper",),
        ("paper", "fusion.projection=separate", "model.tie_embeddings=true", "share_projections=false"),
        ("paper", "fusion={use_local: false}"),
        ("official",),
    ):
        recipe = load_recipe(name, [*small, *overrides])
        torch.manual_seed(0)
        model = Ecamp(recipe, 40)
        start = [float(parameter.detach().double().abs().sum()) for parameter in model.parameters()]
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        batch = synthetic_batch(recipe, 40, [24, 9, 17], capacity=Capacity(80, 60))
        view, losses = model.view(batch), model(batch)
        losses.total.backward()
        gradients = [float(parameter.grad.double().norm()) for parameter in model.parameters()]
        shown, model = model.reconstruct(batch), model.eval()
        again = model(batch)
        dropped, plain = (float(terms.mlm) for terms in (losses, again))
        words = [] if shown.words is None else shown.words.tolist()
        pictures = shown.prediction, shown.super_resolution, model.features(batch.image), again.mim, again.sr
        numbers = [*start, *gradients, dropped, plain, *(float(picture.double().sum()) for picture in pictures)]
        tied = model.text.head.vocabulary is model.text.embeddings.word
        out.append(([f"{number:.5g}" for number in numbers], words, view.keep.tolist(), shown.mask.tolist(), tied))
    return [*out, unpatchify(torch.arange(2.0 * 4 * 27).reshape(2, 4, 27), 3).tolist()]


def tables() -> Any:
    """Positions, and rows of a table with their gradient."""
    import torch

    from ecamp_fast.model import lookup
    from ecamp_fast.model.positions import position_table

    table, numbers = torch.arange(12.0).reshape(4, 3).requires_grad_(), torch.tensor([1, 0, 1, 3, 1])
    weights = torch.tensor([[1.0], [2], [3], [4], [5]])
    rows = lookup._lookup(table, numbers, 0)
    (gradient,) = torch.autograd.grad((rows * weights).sum(), table)
    places = [position_table(8, 3, kind).round(decimals=4).tolist() for kind in ("standard", "official")]
    return places, rows.tolist(), gradient.tolist()


ECAMP = "tests/model/test_ecamp.py"
PARITY = "tests/test_official_parity.py"
VISION = "tests/model/test_vision.py"
FUSION = "tests/model/test_fusion.py"
TEXT = "tests/model/test_text.py"
START = "tests/model/test_initialize.py"

MUTANTS = [
    *mutants(
        "ecamp_fast/model/ecamp.py",
        f"{ECAMP}::test_masks_follow_the_key_of_the_sample",
        a_model,
        {
            "the patches seen are some of the masked ones": (
                "keep=order[:, : recipe.kept_patches]",
                "keep=order[:, recipe.patches - recipe.kept_patches :]",
            ),
            "patches are drawn from the stream of the words": ("Stream.PATCHES", "Stream.WORDS"),
            "the patches seen are the same in every epoch": (
                "torch_uniform(batch.keys,",
                "torch_uniform(batch.samples,",
            ),
        },
    ),
    *mutants(
        "ecamp_fast/model/ecamp.py",
        f"{ECAMP}::test_losses_are_what_a_plain_reading_gives",
        a_model,
        {"the patches seen are reconstructed": ("view.low, view.masked)", "view.low, view.keep)")},
    ),
    *mutants(
        "ecamp_fast/model/ecamp.py",
        f"{ECAMP}::test_official_low_resolution_has_no_antialiasing",
        a_model,
        {
            "the small image is always antialiased": (
                'antialias=recipe.image.low_res == "antialiased"',
                "antialias=True",
            )
        },
    ),
    *mutants(
        "ecamp_fast/model/ecamp.py",
        f"{ECAMP}::test_features",
        a_model,
        {
            "features count the class token": (
                "tokens = image_tokens(encoder, recipe, image)[:, 1:]",
                "tokens = self.encoder(low, every)[:, :-1]",
            )
        },
    ),
    *mutants(
        "ecamp_fast/model/ecamp.py",
        f"{ECAMP}::test_reconstruction",
        a_model,
        {
            "the patches shown as masked are those seen": (
                "mask.scatter(1, view.masked, True)",
                "mask.scatter(1, view.keep, True)",
            ),
            "what is shown has dropout": ("        self.eval()\n", ""),
            "the picture shown is its first channel": (
                "None if picture is None else picture.float().mean(1, keepdim=True)",
                "None if picture is None else picture.float()[:, :1]",
            ),
        },
    ),
    *mutants(
        "ecamp_fast/model/ecamp.py",
        f"{ECAMP}::test_packed_padded_and_fixed_text_give_the_same",
        a_model,
        {
            "filler counts as samples": (
                "head, samples = self.text.head, len(view.low)",
                "head, samples = self.text.head, len(text.cu_seqlens) - 1",
            )
        },
    ),
    *mutants(
        "ecamp_fast/model/ecamp.py",
        f"{PARITY}::test_losses",
        a_model,
        {
            "padding is attended to": (
                "SequenceLayout.padded(view.lengths, max_tokens)",
                "SequenceLayout.equal(len(view.lengths), max_tokens)",
            )
        },
    ),
    *mutants(
        "ecamp_fast/model/vision.py",
        f"{VISION}::test_block_is_timms {VISION}::test_grey_embedding_is_the_convolution_of_three_equal_channels"
        f" {VISION}::test_tokens_come_in_the_order_of_keep {VISION}::test_released_encoder_is_a_timm_vit",
        a_model,
        {
            "a block has no residual around its feed-forward": ("return x + self.fc2(", "return self.fc2("),
            "attention in a block reads rows that are not normed": ("self.qkv(self.norm1(x))", "self.qkv(x)"),
            "the embedding is the mean over the channels": (".weight.sum(1)", ".weight.mean(1)"),
            "kept patches have the positions of the first ones": (
                "positions[0, 1:][keep]",
                "positions[0, 1 : 1 + keep.shape[1]]",
            ),
            "patches have the position of the one before": ("positions[0, 1:][keep]", "positions[0][keep]"),
            "the class token has the position of the first patch": ("positions[:, :1])", "positions[:, 1:2])"),
            "the encoder has no final norm": (
                "return self.norm(_run_blocks(self.blocks, torch.cat([first, patches], dim=1)))",
                "return _run_blocks(self.blocks, torch.cat([first, patches], dim=1))",
            ),
        },
    ),
    *mutants(
        "ecamp_fast/model/vision.py",
        f"{VISION}::test_unpatchify_lays_channels_fastest",
        a_model,
        {
            "pixels of a patch are laid by columns": (
                "grid, grid, patch, patch, -1).transpose(2, 3)",
                "grid, grid, patch, patch, -1).transpose(3, 4).transpose(2, 3)",
            )
        },
    ),
    *mutants(
        "ecamp_fast/model/vision.py",
        f"{PARITY}::test_latent_prediction_and_logits",
        a_model,
        {
            "each patch is predicted from the token before": (
                "tokens, projected)[:, 1:]",
                "tokens, projected)[:, :-1]",
            ),
            "the image decoder has no final norm": (
                "self.predict(self.norm(_run_blocks(self.blocks, tokens, projected)[:, 1:]))",
                "self.predict(_run_blocks(self.blocks, tokens, projected)[:, 1:])",
            ),
        },
    ),
    *mutants(
        "ecamp_fast/model/vision.py",
        f"{VISION}::test_projections_made_once_for_all_samples_are_those_of_each",
        a_model,
        {
            "projections of seen patches lie a place early": ("pad(keep + 1, (1, 0))", "pad(keep, (1, 0))"),
            "seen patches teach the mask token": (
                "gradient.index_fill(0, places, 0.0).unflatten(",
                "gradient.unflatten(",
            ),
        },
    ),
    *mutants(
        "ecamp_fast/model/fusion.py",
        f"{FUSION}::test_equals_the_formulas",
        a_model,
        {
            "the global scale is one patch": ("self.global_proj(patches.mean(1))", "self.global_proj(patches[:, 0])"),
            "shared and separate projection are swapped": (
                "self.out(local + global_context) if self.shared else",
                "self.out(local + global_context) if not self.shared else",
            ),
            "the picture is asked by the bare embeddings": (
                "self._local(text, patches",
                "self._local(embedded, patches",
            ),
            "keys and values of the picture are swapped": ("k, v = self.key_value(", "v, k = self.key_value("),
            "fusion has no residual": (
                "self.dropout(self._project(local, global_context)) + text)",
                "self.dropout(self._project(local, global_context)))",
            ),
            "the global scale alone is not projected": (
                "self.out(global_context) if self.shared else global_context",
                "global_context",
            ),
        },
    ),
    *mutants(
        "ecamp_fast/model/fusion.py",
        f"{ECAMP}::test_packed_padded_and_fixed_text_give_the_same",
        a_model,
        {
            "with filler each text sees the picture before its own": (
                "torch.arange(len(queries) + 1, device=patches.device).clamp(max=batch)",
                "(torch.arange(len(queries) + 1, device=patches.device) - 1).clamp(0, batch)",
            )
        },
    ),
    *mutants(
        "ecamp_fast/model/fusion.py",
        f"{FUSION}::test_dropout_acts_on_the_attention_and_on_the_sum",
        a_model,
        {
            "no dropout on the attention to the picture": (
                "rate = self.rate if self.training else 0.0",
                "rate = 0.0",
            ),
            "what fusion adds is not dropped": (
                "self.norm(self.dropout(self._project(local, global_context)) + text)",
                "self.norm(self._project(local, global_context) + text)",
            ),
        },
    ),
    *mutants(
        "ecamp_fast/model/text_decoder.py",
        f"{TEXT}::test_embeddings_are_berts {TEXT}::test_padding_word_takes_no_gradient {TEXT}::test_head_is_berts"
        f" {TEXT}::test_embeddings_are_dropped_behind_their_norm",
        a_model,
        {
            "words are of type 1": ("self.position + self.token_type[0]", "self.position + self.token_type[1]"),
            "the padding word learns": ("lookup(self.word, ids, PAD_ID)", "lookup(self.word, ids)"),
            "the head has no activation": ("self.norm(gelu(self.dense(hidden)))", "self.norm(self.dense(hidden))"),
            "the head's GELU is the one by tanh": (
                "gelu(self.dense(hidden))",
                'gelu(self.dense(hidden), approximate="tanh")',
            ),
            "embeddings are not dropped": (
                "self.dropout(self.norm(words + positions))",
                "self.norm(words + positions)",
            ),
        },
    ),
    *mutants(
        "ecamp_fast/model/text_decoder.py",
        f"{ECAMP}::test_packed_padded_and_fixed_text_give_the_same",
        a_model,
        {
            "the position of a word is the number of its text": (
                "lookup(places, layout.position)",
                "lookup(places, layout.sequence)",
            )
        },
    ),
    *mutants(
        "ecamp_fast/model/text_decoder.py",
        f"{PARITY}::test_latent_prediction_and_logits",
        a_model,
        {"text sees the class token as a patch": ("self.bridge(latent[:, 1:])", "self.bridge(latent)")},
    ),
    *mutants(
        "ecamp_fast/model/text_decoder.py",
        f"{START}::test_tied_vocabulary_keeps_the_embeddings_distribution {START}::test_tables_and_tokens_are_normal",
        a_model,
        {
            "embeddings are tied where the recipe unties them": (
                "self.embeddings.word if tied else",
                "self.embeddings.word if not tied else",
            )
        },
    ),
    *mutants(
        "ecamp_fast/model/initialize.py",
        START,
        a_model,
        {
            "query, key and value are drawn as one matrix": (
                "_xavier_parts(module.qkv.weight, 3)",
                "_xavier_parts(module.qkv.weight, 1)",
            ),
            "the padding word has an embedding": ("    embeddings.word[PAD_ID].zero_()\n", ""),
            "the patch embedding is drawn as a convolution": (
                "module.weight.view(module.weight.shape[0], -1)",
                "module.weight",
            ),
            "tokens are normal with 0.2": ("DEVIATION = 0.02", "DEVIATION = 0.2"),
        },
    ),
    *mutants(
        "ecamp_fast/model/positions.py",
        "tests/model/test_positions.py",
        tables,
        {
            "rows and columns are swapped": ("torch.cat([column, row], dim=2)", "torch.cat([row, column], dim=2)"),
            "cosines come before sines": ("[angles.sin(), angles.cos()]", "[angles.cos(), angles.sin()]"),
            "frequencies fall half as fast": ("(axis / 2 if table", "(axis if table"),
            "the row of the class token is the last": (
                "torch.cat([patches.new_zeros(1, width), patches])",
                "torch.cat([patches, patches.new_zeros(1, width)])",
            ),
        },
    ),
    *mutants(
        "ecamp_fast/model/lookup.py",
        "tests/model/test_lookup.py",
        tables,
        {
            "a compiled lookup teaches the padding word": (
                "_lookup_backward(gradient, numbers, ctx.count, ctx.padding)",
                "_lookup_backward(gradient, numbers, ctx.count, NONE)",
            ),
            "a compiled lookup divides by how often a word comes": ("count, padding, False)", "count, padding, True)"),
        },
    ),
]
