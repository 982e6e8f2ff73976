"""Our decoder against transformers' OPT (post-LN, no final norm) on the same weights: outputs and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotverse_jax.config import Execution, OPTConfig
from shotverse_jax.conversion import gendop_opt
from shotverse_jax.conversion.networks import NETWORKS
from shotverse_jax.models.opt import OPTDecoder

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

CONFIG = OPTConfig(vocab_size=60, hidden_size=48, num_layers=3, num_heads=4, max_positions=32, dropout=0.0)


@pytest.mark.parametrize("execution", [Execution(), Execution(unroll=True, remat="full")])
def test_outputs_and_gradients_equal_transformers(execution, parity):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda x: rng.normal(0, 0.2, x.shape).astype(np.float32), NETWORKS["gendop-opt"].abstract(CONFIG)
    )
    for norm in ("attn_norm", "final_norm"):
        params["layers"][norm]["scale"] += 1
    hf_config = transformers.OPTConfig(
        **gendop_opt.config_to_hf(CONFIG), attention_dropout=0.0, attn_implementation="eager"
    )
    model = transformers.OPTForCausalLM(hf_config).train()
    model.load_state_dict(
        {
            name: torch.tensor(array)
            for name, array in NETWORKS["gendop-opt"].to_torch(params, CONFIG, "transformers").items()
        }
    )
    prefix = torch.randn(2, 5, CONFIG.hidden_size, requires_grad=True)
    ids = torch.randint(3, CONFIG.vocab_size, (2, 9))
    inputs = torch.cat([prefix, model.get_input_embeddings()(ids)], dim=1)
    logits = model(inputs_embeds=inputs, attention_mask=torch.ones(2, 14, dtype=torch.long)).logits
    cotangent = torch.randn_like(logits)
    (logits * cotangent).sum().backward()

    decoder = OPTDecoder(CONFIG, execution)
    got, pullback = jax.vjp(
        lambda params, prefix: decoder.apply({"params": params}, prefix, jnp.asarray(ids.numpy())),
        params,
        jnp.asarray(prefix.detach().numpy()),
    )
    assert parity("logits", got, logits.detach().numpy()) < 1e-5
    gradients, prefix_gradient = pullback(jnp.asarray(cotangent.numpy()))
    assert parity("gradient of the prefix", prefix_gradient, prefix.grad.numpy()) < 1e-5
    gradients = NETWORKS["gendop-opt"].to_torch(gradients, CONFIG, "transformers")
    wanted = {name: value.grad.numpy() for name, value in model.named_parameters()}
    assert gradients.keys() == wanted.keys()
    largest = max(np.abs(want).max() for want in wanted.values())
    for name, want in wanted.items():
        # The gradient of k_proj's bias is zero in exact arithmetic, so errors are taken against the largest leaf too.
        assert np.abs(gradients[name] - want).max() <= 1e-4 * np.abs(want).max() + 1e-6 * largest, name
