"""CLaTr: recorded outputs of the original, the 260 names of a published file at their full size, and the way back."""

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from shotverse_jax import cli
from shotverse_jax.config import CLaTrConfig
from shotverse_jax.conversion import clatr, core
from shotverse_jax.conversion.networks import NETWORKS
from shotverse_jax.conversion.verify import verify_record
from shotverse_jax.models.clatr import CLaTr
from shotverse_jax.weights.folder import kind_of, open_weights, read_config


def published() -> dict[str, tuple[int, ...]]:
    """Names and shapes of epoch99_motion.ckpt's state_dict, written from what is known of it."""
    attention = {"in_proj_weight": (768, 256), "in_proj_bias": (768,)}
    attention |= {"out_proj.weight": (256, 256), "out_proj.bias": (256,)}
    mlp = {
        "linear1.weight": (1024, 256),
        "linear1.bias": (1024,),
        "linear2.weight": (256, 1024),
        "linear2.bias": (256,),
    }
    shapes = {}
    for part, width in (("traj_encoder", 9), ("text_encoder", 512)):
        shapes |= {f"{part}.tokens": (2, 256), f"{part}.projection.weight": (256, width)}
        shapes[f"{part}.projection.bias"] = (256,)
    stacks = [("traj_encoder.seqTransEncoder", ["self_attn"], 2), ("text_encoder.seqTransEncoder", ["self_attn"], 2)]
    for stack, attentions, norms in [*stacks, ("traj_decoder.seqTransDecoder", ["self_attn", "multihead_attn"], 3)]:
        for i in range(6):
            layer = f"{stack}.layers.{i}."
            shapes |= {f"{layer}{a}.{name}": shape for a in attentions for name, shape in attention.items()}
            shapes |= {f"{layer}{name}": shape for name, shape in mlp.items()}
            shapes |= {f"{layer}norm{n}.{x}": (256,) for n in range(1, norms + 1) for x in ("weight", "bias")}
    return shapes | {"traj_decoder.final_layer.weight": (9, 256), "traj_decoder.final_layer.bias": (9,)}


def test_a_lightning_checkpoint_there_and_back_byte_for_byte(tmp_path):
    torch = pytest.importorskip("torch")
    shapes, rng = published(), np.random.default_rng(0)
    assert len(shapes) == 260 and sum(map(np.prod, shapes.values())) == 15_934_985
    tensors = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    state = {name: torch.from_numpy(tensor) for name, tensor in tensors.items()}
    moments = {0: {"step": torch.tensor(3.0), "exp_avg": torch.zeros(2, 256)}}
    lightning = {"epoch": 99, "global_step": 7, "pytorch-lightning_version": "2.1.0", "state_dict": state, "loops": {}}
    lightning |= {"callbacks": {"ModelCheckpoint{'mode': 'min'}": {"best_model_score": None}}, "lr_schedulers": []}
    torch.save(lightning | {"optimizer_states": [{"state": moments, "param_groups": []}]}, tmp_path / "epoch99.ckpt")
    ours, back = tmp_path / "ours", tmp_path / "back.safetensors"
    assert cli.main(["convert", str(tmp_path / "epoch99.ckpt"), "--as", "clatr", "--out", str(ours), "--quiet"]) == 0
    assert kind_of(ours) == "clatr" and read_config(ours, CLaTrConfig) == CLaTrConfig()
    q_k_v = np.asarray(open_weights(ours / "model")["traj_encoder/layers/self_attn/qkv/kernel"])
    stored = tensors["traj_encoder.seqTransEncoder.layers.4.self_attn.in_proj_weight"]
    np.testing.assert_array_equal(q_k_v[4], stored.T)
    assert cli.main(["convert", str(ours), "--to", "clatr", "--out", str(back), "--quiet"]) == 0
    written = load_file(back)
    assert written.keys() == tensors.keys()
    assert all(written[name].tobytes() == tensor.tobytes() for name, tensor in tensors.items())


def test_the_record_replays(reference, record_property):
    report = verify_record(reference / "golden" / "clatr.npz", tol=1e-5)
    assert report.ok and report.model == "clatr" and len(report.outputs) == 6
    for output in report.outputs:
        record_property("parity", (output.name, output.max_rel_rms))
        assert output.max_rel_rms > 0


@pytest.fixture(scope="module")
def tiny(reference):
    record = core.read_safetensors(reference / "golden" / "clatr_tiny_parity.safetensors")
    tensors = {name.removeprefix("w."): array for name, array in record.items() if name.startswith("w.")}
    config = clatr.config_from_tensors(tensors, 4)
    params = NETWORKS["clatr"].from_torch(tensors, config)
    return record, tensors, jax.jit(lambda *inputs: CLaTr(config).apply({"params": params}, *inputs))


def test_recorded_latents_and_reconstructions(tiny):
    record, _, read_both = tiny
    read = read_both(record["x"], record["mask"], record["t"], record["tmask"])
    for name, ours in (("traj", read.traj), ("text", read.text)):
        np.testing.assert_allclose(ours.mu_BD, record[f"{name}_mu"], atol=1e-5)
        np.testing.assert_allclose(ours.logvar_BD, record[f"{name}_logvar"], atol=1e-5)
    np.testing.assert_allclose(read.traj_recon_BTC, record["traj_recon"], atol=1e-5)
    np.testing.assert_allclose(read.text_recon_BTC, record["text_recon"], atol=1e-5)


def test_padding_has_no_say(tiny):
    record, _, read_both = tiny
    assert not record["mask"].all() and not record["tmask"].all()
    inputs = [np.where(record[m][..., None], record[x], 7.0) for x, m in (("x", "mask"), ("t", "tmask"))]
    one = read_both(record["x"], record["mask"], record["t"], record["tmask"])
    two = read_both(inputs[0], record["mask"], inputs[1], record["tmask"])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), one, two)
    assert not np.asarray(two.traj_recon_BTC)[~record["mask"]].any()


def test_other_files_are_refused(tiny):
    tensors = tiny[1]
    with pytest.raises(ValueError, match="not a CLaTr: text_encoder.projection.weight missing"):
        clatr.config_from_tensors({name: tensor for name, tensor in tensors.items() if not name.startswith("text")})
    config = clatr.config_from_tensors(tensors, 4)
    with pytest.raises(ValueError, match=r"in the checkpoint but not in the table \(1\): traj_decoder.extra"):
        NETWORKS["clatr"].from_torch(tensors | {"traj_decoder.extra": np.zeros(1, np.float32)}, config)
