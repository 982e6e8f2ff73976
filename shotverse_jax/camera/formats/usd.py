"""Universal Scene Description, for Houdini, Maya, Unreal, Omniverse and Blender. usd-core writes and reads it.

One Camera prim per shot, /Film/shot_01 …, with `xformOp:transform` time samples over that shot's frames (the first
frame of the film is time code 1, timeCodesPerSecond = fps).
Axes: camera-to-world, OpenGL camera axes (x right, y up, looking along -z), y-up world; matrices act on row vectors,
so the usual matrix is transposed. Unit: metersPerUnit = 1; focalLength and apertures are tenths of a scene unit, so a
35 mm lens on a 36 mm film back reads 0.35 and 0.36. focusDistance (scene units) and fStop are written of shots that are
focused. Conversion: the world is the stage (floor under the subject) when
known, else the trajectory's own, turned from y down to y up. The principal point becomes aperture offsets. Custom data
of /Film keep what USD has no place for: the image's size, the stage and the caption. Source: openusd.org,
UsdGeomCamera.
"""

from pathlib import Path

import numpy as np

from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import _common as common
from shotverse_jax.camera.formats import usd_read
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.text_files import plain

FILM_BACK = common.FILM_BACK_MM / 100
"""Horizontal aperture in tenths of a metre."""


def write(trajectory: Trajectory, path: Path) -> None:
    """Writes .usda (text), .usdc or .usd (binary).

    Raises:
        ValueError: usd-core is not installed.
    """
    try:
        from pxr import Gf, Usd, UsdGeom, Vt
    except ImportError as error:
        raise ValueError("writing USD needs usd-core; install it with: pip install 'shotverse_jax[usd]'") from error
    stage = Usd.Stage.CreateInMemory()
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
    UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    stage.SetTimeCodesPerSecond(trajectory.fps)
    stage.SetFramesPerSecond(trajectory.fps)
    stage.SetStartTimeCode(common.FIRST_FRAME)
    stage.SetEndTimeCode(common.FIRST_FRAME + len(trajectory) - 1)
    film = UsdGeom.Xform.Define(stage, "/Film").GetPrim()
    stage.SetDefaultPrim(film)
    film.SetCustomDataByKey("width", trajectory.width)
    film.SetCustomDataByKey("height", trajectory.height)
    if trajectory.global_caption:
        film.SetCustomDataByKey("caption", trajectory.global_caption)
    if trajectory.stage_34 is not None:
        film.SetCustomDataByKey("stage", Vt.DoubleArray(trajectory.stage_34.ravel().tolist()))
    # USD multiplies row vectors from the left, so its matrices are the transposed ones.
    matrices = se3.to_44(common.upright(trajectory, common.Y_UP)).swapaxes(1, 2).tolist()
    for k, (start, end) in enumerate(trajectory.spans):
        camera = UsdGeom.Camera.Define(stage, f"/Film/{common.shot_name(k)}")
        _keep(camera.GetPrim(), trajectory, k)
        camera.CreateProjectionAttr(UsdGeom.Tokens.perspective)
        # USD's default range begins at 1 unit, here a metre, and would hide a subject that is close.
        camera.CreateClippingRangeAttr(Gf.Vec2f(0.01, 10000.0))
        transform = camera.AddTransformOp()
        for t in range(start, end):
            transform.Set(Gf.Matrix4d(matrices[t]), common.FIRST_FRAME + t)
        _lens(camera, trajectory, start, end)
    stage.GetRootLayer().Export(str(path))


def _keep(prim, trajectory: Trajectory, index: int) -> None:
    """The caption of a shot and when it is shown, as custom properties that Blender imports and exports too."""
    from pxr import Sdf

    kinds = Sdf.ValueTypeNames
    start, end = trajectory.spans[index]
    values = {
        "caption": (trajectory.captions[index], kinds.String),
        "start_seconds": (start / trajectory.fps, kinds.Double),
        "end_seconds": (end / trajectory.fps, kinds.Double),
    }
    for name, (value, kind) in values.items():
        prim.CreateAttribute(f"userProperties:{name}", kind, custom=True).Set(value)


def _lens(camera, trajectory: Trajectory, start: int, end: int) -> None:
    """Film back, focal length and focus; sampled over time only where they change within the shot."""
    width, height = trajectory.width, trajectory.height
    k_T4 = trajectory.intrinsics_T4[start:end]
    fx, fy, cx, cy = k_T4.T
    focal = fx / width * FILM_BACK
    values = {
        camera.CreateFocalLengthAttr(): focal,
        camera.CreateHorizontalApertureAttr(): np.full(end - start, FILM_BACK),
        # USD has one focal length; pixels that are not square show in the height of the film back.
        camera.CreateVerticalApertureAttr(): focal * height / fy,
        camera.CreateHorizontalApertureOffsetAttr(): (0.5 - cx / width) * FILM_BACK,
        camera.CreateVerticalApertureOffsetAttr(): (cy - height / 2) / fy * focal,
    }
    if trajectory.focus_T2 is not None:
        distance_T, f_number_T = trajectory.focus_T2[start:end].T
        values |= {camera.CreateFocusDistanceAttr(): distance_T, camera.CreateFStopAttr(): f_number_T}
    for attribute, value_T in values.items():
        if (value_T == value_T[0]).all():
            attribute.Set(float(value_T[0]))
        else:
            for t, value in enumerate(value_T.tolist(), common.FIRST_FRAME + start):
                attribute.Set(value, t)


FORMAT = common.Format(
    name="usd",
    suffixes=(".usda", ".usdc", ".usd"),
    description="Universal Scene Description, one camera per shot (needs usd-core)",
    convention="camera-to-world, OpenGL camera axes, y-up world, metres, row vectors, lens in tenths of a metre",
    keeps=common.EVERYTHING - {"times"},
    read=usd_read.read,
    write=write,
    steady=True,
    words=plain,
)
