"""Our decoder against transformers' OPT (post-LN, no final norm) on the same weights: outputs and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotverse_jax.config import Execution, OPTConfig
from shotverse_jax.conversion import gendop_opt
from shotverse_jax.models.opt import OPTDecoder

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

CONFIG = OPTConfig(vocab_size=60, hidden_size=48, num_layers=3, num_heads=4, max_positions=32, dropout=0.0)
HF_POSITION_OFFSET = 2


def gendop_name(name):
    """Name of a transformers OPT tensor in a GenDoP checkpoint."""
    name = name.replace("model.decoder.", "mesh_decoder.model.").replace("embed_tokens", "embd")
    return name.replace("lm_head", "mesh_decoder.lm_head")


def as_gendop(named):
    """Copies without the rows that transformers puts before position 0 (copies: torch and jax may share memory)."""
    arrays = {gendop_name(name): np.array(value.detach().numpy()) for name, value in named}
    positions = "mesh_decoder.model.embed_positions.weight"
    arrays[positions] = arrays[positions][HF_POSITION_OFFSET:]
    return arrays


def relative(got, want):
    return np.abs(got - want).max() / np.abs(want).max()


@pytest.mark.parametrize("execution", [Execution(), Execution(unroll=True, remat="full")])
def test_outputs_and_gradients_equal_transformers(execution):
    torch.manual_seed(0)
    model = transformers.OPTForCausalLM(
        transformers.OPTConfig(
            vocab_size=CONFIG.vocab_size,
            hidden_size=CONFIG.hidden_size,
            word_embed_proj_dim=CONFIG.hidden_size,
            num_hidden_layers=CONFIG.num_layers,
            num_attention_heads=CONFIG.num_heads,
            ffn_dim=CONFIG.mlp_size,
            max_position_embeddings=CONFIG.max_positions,
            do_layer_norm_before=False,
            activation_function="relu",
            dropout=0.0,
            attention_dropout=0.0,
            tie_word_embeddings=False,
            pad_token_id=0,
            init_std=0.2,
            attn_implementation="eager",
        )
    ).train()
    for name, value in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(value, std=0.1)
    prefix = torch.randn(2, 5, CONFIG.hidden_size, requires_grad=True)
    ids = torch.randint(3, CONFIG.vocab_size, (2, 9))
    inputs = torch.cat([prefix, model.get_input_embeddings()(ids)], dim=1)
    logits = model(inputs_embeds=inputs, attention_mask=torch.ones(2, 14, dtype=torch.long)).logits
    cotangent = torch.randn_like(logits)
    (logits * cotangent).sum().backward()

    params = gendop_opt.from_torch(as_gendop(model.named_parameters()), CONFIG)
    decoder = OPTDecoder(CONFIG, execution)
    got, pullback = jax.vjp(
        lambda params, prefix: decoder.apply({"params": params}, prefix, jnp.asarray(ids.numpy())),
        params,
        jnp.asarray(prefix.detach().numpy()),
    )
    assert relative(got, logits.detach().numpy()) < 1e-5
    gradients, prefix_gradient = pullback(jnp.asarray(cotangent.numpy()))
    assert relative(prefix_gradient, prefix.grad.numpy()) < 1e-5
    wanted = gendop_opt.from_torch(as_gendop((n, p.grad) for n, p in model.named_parameters()), CONFIG)
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(wanted))
    for path, want in jax.tree_util.tree_leaves_with_path(wanted):
        leaf = gradients
        for entry in path:
            leaf = leaf[entry.key]
        # The gradient of k_proj's bias is zero in exact arithmetic, so errors are taken against the largest leaf too.
        assert np.abs(leaf - want).max() <= 1e-4 * np.abs(want).max() + 1e-6 * largest, path
