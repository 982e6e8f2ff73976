"""The detectors of shots by name; a new one is a row. Commands read it at their start, so it imports nothing."""

DETECTORS = {
    "difference": "shots_difference.Difference",
    "transnetv2": "shots_transnet.TransNet",
    "scenedetect": "shots_scenedetect.Content",
}
"""Name → "file.Class" in this room. A detector is imported when it is used, as some need packages that are optional."""
