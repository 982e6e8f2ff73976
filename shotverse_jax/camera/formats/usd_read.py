"""The cameras of a USD file and their animation, as `usd` or any 3-D program writes them, read by usd-core.

Every active Camera prim is read, with the transforms of all prims above it. Up axis and unit are the stage's own.
"""

from pathlib import Path
from typing import Any

import numpy as np

from shotverse_jax import limits
from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import _common as common
from shotverse_jax.camera.formats import tracks


@common.reader
def read(path: Path, *, camera: str | None = None) -> common.Reading:
    """Reads the cameras; `camera` is the name or the path of one of them, or "all" for a shot of each."""
    try:
        from pxr import Tf, Usd, UsdGeom
    except ImportError as error:
        raise ValueError("reading USD needs usd-core; install it with: pip install 'shotverse_jax[usd]'") from error
    if not path.is_file():
        raise ValueError("no such file")
    try:
        stage = Usd.Stage.Open(str(path))
        common.positive(stage.GetTimeCodesPerSecond(), "timeCodesPerSecond")
        common.positive(UsdGeom.GetStageMetersPerUnit(stage), "metersPerUnit")
        notes: list[str] = []
        cameras = [prim for prim in stage.Traverse() if prim.IsA(UsdGeom.Camera)]
        # Cameras are read at every whole time code between their samples, unless these are too many together.
        most = limits.FRAMES // max(len(cameras), 1)
        found = [track for prim in cameras if (track := _track(stage, UsdGeom.Camera(prim), most, notes)) is not None]
    except TypeError as error:
        raise ValueError(f"a value of the file is of another kind than USD says ({str(error)[:100]})") from error
    except Tf.ErrorException as error:
        # Its text is a place in USD's own sources, and then what is wrong.
        reason = " ".join(str(error).split()).partition(" : ")[2].strip("'").replace(f"{path}:", "line ")
        raise ValueError(f"not a USD file ({reason[:120]})") from error
    camera = next((prim.GetName() for prim in cameras if str(prim.GetPath()) == camera), camera)
    if not UsdGeom.StageHasAuthoredMetersPerUnit(stage):
        notes.append("the file does not say its unit; lengths were read as centimetres, which is USD's default")
    reading = tracks.film(found, camera, notes)
    tracks.set_rate(reading, stage.GetTimeCodesPerSecond())
    said = stage.GetDefaultPrim().GetCustomData() if stage.GetDefaultPrim() else {}
    _size(reading, stage, said)
    reading.global_caption = str(said.get("caption") or "")
    stored = said.get("stage")
    up = "z" if UsdGeom.GetStageUpAxis(stage) == UsdGeom.Tokens.z else "y"
    tracks.place(reading, None if stored is None else np.reshape(stored, (-1, 4)).tolist(), up)
    return reading


def _size(reading: common.Reading, stage: Any, said: dict) -> None:
    """The size of the image: our own, that of render settings, or the film back's shape."""
    from pxr import UsdRender

    size = [said[name] for name in ("width", "height") if name in said]
    if len(size) != 2:
        settings = (UsdRender.Settings(prim) for prim in stage.Traverse() if prim.IsA(UsdRender.Settings))
        size = next((list(one.GetResolutionAttr().Get() or []) for one in settings), [])
    if len(size) == 2:
        reading.size_T2 = np.tile([common.pixels(side, "the image's size") for side in size], (len(reading), 1))
    else:
        reading.usual_size = tracks.shape_size(reading.lens_T4[0])


def _track(stage: Any, camera: Any, most: int, notes: list[str]) -> tracks.Track | None:
    from pxr import Usd, UsdGeom

    prim = camera.GetPrim()
    if camera.GetProjectionAttr().Get() == UsdGeom.Tokens.orthographic:
        notes.append(f"the camera {prim.GetPath()} is orthographic and was left out")
        return None
    codes = _codes(camera, most, notes)
    cache, rows, lens, focus = UsdGeom.XformCache(), [], [], []
    for code in codes:
        time = Usd.TimeCode.Default() if code is None else Usd.TimeCode(code)
        cache.SetTime(time)
        rows.append(np.array(cache.GetLocalToWorldTransform(prim)))
        lens.append(_lens(camera, time))
        focus.append(_focus(camera, time, UsdGeom.GetStageMetersPerUnit(stage)))
    # USD multiplies row vectors from the left, so its matrices are the transposed ones.
    pose_T34 = np.array(rows, np.float64).swapaxes(1, 2)[:, :3]
    pose_T34 = se3.make(pose_T34[:, :, :3], pose_T34[:, :, 3] * UsdGeom.GetStageMetersPerUnit(stage))
    second_T = np.array([0.0 if code is None else code for code in codes]) / stage.GetTimeCodesPerSecond()
    own: dict[str, Any] = {}
    # Custom properties, as Blender keeps them too, which writes them to the transform above a camera.
    for holder in (prim.GetParent(), prim):
        attributes = holder.GetAuthoredPropertiesInNamespace("userProperties")
        own |= {one.GetBaseName(): one.Get() for one in attributes if hasattr(one, "Get")}
    caption, pose_T34 = str(own.get("caption") or ""), se3.flip_yz(pose_T34)
    focus_T2 = np.array(focus) if any(f_number for _, f_number in focus) else None
    return tracks.Track(prim.GetName(), second_T, pose_T34, np.array(lens), caption, tracks.shown_of(own), focus_T2)


def _codes(camera: Any, most: int, notes: list[str]) -> list[float | None]:
    """The time codes at which a camera is read, at most `most` beside its samples; [None] for one that is still."""
    from pxr import UsdGeom

    codes: set[float] = set()
    prim = camera.GetPrim()
    for name in ("FocalLength", "HorizontalAperture", "VerticalAperture", "FocusDistance", "FStop"):
        codes.update(getattr(camera, f"Get{name}Attr")().GetTimeSamples())
    while prim and not prim.IsPseudoRoot():
        if prim.IsA(UsdGeom.Xformable):
            codes.update(UsdGeom.Xformable(prim).GetTimeSamples())
        prim = prim.GetParent()
    if not codes:
        return [None]
    first, last = min(codes), max(codes)
    if last - first >= most:
        notes.append(f"{camera.GetPrim().GetPath()} was read at its {len(codes)} samples, which are far apart")
        return sorted(codes)
    # Between its samples USD interpolates matrices and angles, so the frames between them are read as it has them.
    whole = np.arange(np.ceil(first), np.floor(last) + 1)
    return sorted(codes.union(whole.tolist()))


def _lens(camera: Any, time: Any) -> list[float]:
    back = ("HorizontalAperture", "VerticalAperture")
    names = ("FocalLength", *back, *(f"{name}Offset" for name in back))
    where = str(camera.GetPrim().GetPath())
    focal, across, down, right, up = (
        float(common.numbers(getattr(camera, f"Get{name}Attr")().Get(time), (), f"{name} of {where}")) for name in names
    )
    if not min(focal, across, down) > 0:
        raise ValueError(f"{where} has a focal length or a film back of 0")
    return [focal / across, focal / down, 0.5 - right / across, 0.5 + up / down]


def _focus(camera: Any, time: Any, unit: float) -> list[float]:
    """Distance in metres and f-number; an fStop of 0 is a pinhole, and so is USD's default."""
    where = str(camera.GetPrim().GetPath())
    distance, f_stop, across = (
        float(common.numbers(getattr(camera, f"Get{name}Attr")().Get(time), (), f"{name} of {where}"))
        for name in ("FocusDistance", "FStop", "HorizontalAperture")
    )
    # Focal lengths are named for another film back here, and the opening of the lens is to stay as wide as it is.
    return [distance * unit, f_stop * common.FILM_BACK_MM / (across * 100 * unit)]
