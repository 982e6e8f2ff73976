"""The words of the film grammar: what people call a camera move, a shot size, an angle, a side.

A move has verb phrases (conjugated by `third_person` and `gerund`) and noun phrases. This file knows no geometry.
"""

VERBS: dict[str, tuple[str, ...]] = {
    "static": (
        "stay still", "remain static", "hold still", "hold", "stay locked off", "hold steady", "stay fixed",
        "remain motionless", "do not move", "keep still", "rest on the frame", "linger without moving",
        "stay put", "remain stationary", "stay perfectly still", "sit on the tripod", "stop moving",
    ),
    "yaw left": (
        "pan left", "pan to the left", "yaw left", "turn left", "turn to the left", "swing left", "rotate left",
        "rotate to the left", "look left", "sweep left", "pan leftward", "pivot left", "swivel left", "pan over to the left",
        "turn toward the left", "scan left", "pan from right to left", "spin to the left",
    ),
    "yaw right": (
        "pan right", "pan to the right", "yaw right", "turn right", "turn to the right", "swing right", "rotate right",
        "rotate to the right", "look right", "sweep right", "pan rightward", "pivot right", "swivel right", "pan over to the right",
        "turn toward the right", "scan right", "pan from left to right", "spin to the right",
    ),
    "pitch up": (
        "tilt up", "tilt upward", "pitch up", "look up", "tip up", "tilt up toward the sky", "point upward", "raise its gaze",
        "tilt upwards", "rotate upward", "look upwards", "angle up", "nod up", "lift its view", "turn upward", "tilt from low to high",
    ),
    "pitch down": (
        "tilt down", "tilt downward", "pitch down", "look down", "tip down", "tilt down toward the floor", "point downward",
        "lower its gaze", "tilt downwards", "rotate downward", "look downwards", "angle down", "nod down", "drop its view",
        "turn downward", "tilt from high to low",
    ),
    "roll left": (
        "roll left", "roll to the left", "roll counterclockwise", "rotate counterclockwise", "bank left", "lean left",
        "roll anticlockwise", "dutch to the left", "rotate counter-clockwise on its axis", "cant left", "twist to the left",
        "spin counterclockwise", "tip over to the left", "roll over to the left",
    ),
    "roll right": (
        "roll right", "roll to the right", "roll clockwise", "rotate clockwise", "bank right", "lean right",
        "roll over clockwise", "dutch to the right", "rotate clockwise on its axis", "cant right", "twist to the right",
        "spin clockwise", "tip over to the right", "roll over to the right",
    ),
    "move left": (
        "truck left", "move left", "slide left", "track left", "move to the left", "glide left", "drift left",
        "shift left", "travel left", "slide to the left", "dolly left", "crab left", "float left", "move sideways to the left",
        "track to the left", "shift to the left", "strafe left", "slip to the left", "move laterally left", "truck to the left",
    ),
    "move right": (
        "truck right", "move right", "slide right", "track right", "move to the right", "glide right", "drift right",
        "shift right", "travel right", "slide to the right", "dolly right", "crab right", "float right", "move sideways to the right",
        "track to the right", "shift to the right", "strafe right", "slip to the right", "move laterally right", "truck to the right",
    ),
    "move forward": (
        "push in", "dolly in", "move forward", "creep closer", "move in", "push forward", "move closer", "track in",
        "advance", "glide forward", "close in", "zoom in", "dolly forward", "push in closer", "inch forward", "ease in",
        "drift in", "approach", "draw near", "go forward", "travel forward", "come closer", "tighten", "get closer",
        "head forward", "fly forward", "push toward {subject}", "dolly in on {subject}", "close in on {subject}",
        "move in on {subject}", "push in on {subject}", "creep toward {subject}", "approach {subject}", "zoom in on {subject}",
        "move toward {subject}", "get closer to {subject}", "creep in", "crawl forward", "rush in", "press in",
    ),
    "move backward": (
        "pull back", "dolly out", "move backward", "pull out", "back away", "retreat", "move back", "track back",
        "withdraw", "glide backward", "zoom out", "dolly back", "ease back", "drift back", "pull away", "recede",
        "go backward", "travel backward", "back up", "widen out", "fly backward", "pull away from {subject}",
        "back away from {subject}", "move away from {subject}", "dolly out from {subject}", "pull back from {subject}",
        "retreat from {subject}", "zoom out from {subject}", "draw back", "creep backward", "step back", "move out",
        "pull back to reveal the scene", "pull out to show the whole place", "back off", "move away",
    ),
    "move up": (
        "pedestal up", "rise", "boom up", "move up", "lift", "crane up", "ascend", "rise up", "float up", "elevate",
        "go up", "climb", "lift off the ground", "move upward", "jib up", "rise straight up", "soar upward", "travel upward",
        "rise into the air", "raise up", "glide upward", "shift upward", "drift upward", "fly up",
    ),
    "move down": (
        "pedestal down", "descend", "boom down", "move down", "lower", "crane down", "sink", "drop down", "float down",
        "go down", "come down", "move downward", "jib down", "lower to the ground", "sink straight down", "travel downward",
        "settle down", "drop", "glide downward", "shift downward", "drift downward", "fly down", "fall", "dip down",
    ),
    "arc left": (
        "arc left", "orbit left", "orbit to the left", "circle left", "arc around {subject} to the left", "circle to the left around {subject}",
        "orbit {subject} to the left", "revolve left around {subject}", "curve left around {subject}", "wrap around {subject} to the left",
        "arc to the left", "orbit clockwise around {subject}", "circle {subject} clockwise", "move in a half circle to the left",
    ),
    "arc right": (
        "arc right", "orbit right", "orbit to the right", "circle right", "arc around {subject} to the right", "circle to the right around {subject}",
        "orbit {subject} to the right", "revolve right around {subject}", "curve right around {subject}", "wrap around {subject} to the right",
        "arc to the right", "orbit counterclockwise around {subject}", "circle {subject} counterclockwise", "move in a half circle to the right",
    ),
    "crane up": ("crane up and back", "rise up and away", "crane up while pulling back", "lift up and away from {subject}", "soar up and back"),
    "crane down": ("crane down and in", "descend toward {subject}", "crane down while pushing in", "come down toward {subject}", "swoop down and in"),
    "whip left": ("whip pan left", "whip left", "snap left", "whip to the left", "flick left", "whip-pan to the left", "jerk left"),
    "whip right": ("whip pan right", "whip right", "snap right", "whip to the right", "flick right", "whip-pan to the right", "jerk right"),
    "lead": (
        "walk backward ahead of {subject}", "lead {subject}", "move backward in front of {subject}", "back up ahead of {subject}",
        "retreat in front of {subject}", "travel backward leading {subject}",
    ),
    "follow": (
        "follow {subject}", "follow behind {subject}", "follow {subject} from behind", "track behind {subject}", "trail {subject}",
        "walk behind {subject}", "chase {subject}", "move forward behind {subject}",
    ),
    "track left": (
        "track left with {subject}", "track alongside {subject} to the left", "follow {subject} to the left", "travel left beside {subject}",
        "move left with {subject}", "track {subject} moving left", "keep pace with {subject} to the left",
    ),
    "track right": (
        "track right with {subject}", "track alongside {subject} to the right", "follow {subject} to the right", "travel right beside {subject}",
        "move right with {subject}", "track {subject} moving right", "keep pace with {subject} to the right",
    ),
}  # fmt: skip

NOUNS: dict[str, tuple[str, ...]] = {
    "static": ("static shot", "locked-off shot", "still frame", "static camera", "fixed camera", "no camera movement", "tripod shot", "stationary camera"),
    "yaw left": ("pan left", "left pan", "pan to the left", "turn to the left", "leftward pan", "camera turn left"),
    "yaw right": ("pan right", "right pan", "pan to the right", "turn to the right", "rightward pan", "camera turn right"),
    "pitch up": ("tilt up", "upward tilt", "tilt toward the sky", "pitch up", "tilt upward"),
    "pitch down": ("tilt down", "downward tilt", "tilt toward the ground", "pitch down", "tilt downward"),
    "roll left": ("roll to the left", "counterclockwise roll", "left roll", "dutch roll left", "roll left"),
    "roll right": ("roll to the right", "clockwise roll", "right roll", "dutch roll right", "roll right"),
    "move left": ("truck left", "track left", "slide left", "lateral move to the left", "dolly left", "sideways slide to the left", "tracking shot to the left"),
    "move right": ("truck right", "track right", "slide right", "lateral move to the right", "dolly right", "sideways slide to the right", "tracking shot to the right"),
    "move forward": ("push in", "push-in", "dolly in", "dolly-in", "track in", "zoom in", "creep in", "move in", "forward dolly", "push forward", "forward move"),
    "move backward": ("pull back", "pull-back", "dolly out", "dolly-out", "pull out", "zoom out", "pullback", "backward dolly", "move back", "retreat"),
    "move up": ("pedestal up", "boom up", "crane up", "rise", "vertical rise", "lift", "jib up", "crane shot up", "upward move"),
    "move down": ("pedestal down", "boom down", "crane down", "descent", "vertical drop", "lowering move", "jib down", "crane shot down", "downward move"),
    "arc left": ("arc left", "orbit left", "arc shot to the left", "orbit to the left", "arc around to the left"),
    "arc right": ("arc right", "orbit right", "arc shot to the right", "orbit to the right", "arc around to the right"),
    "crane up": ("crane up and back", "rise and pull back", "crane up and away"),
    "crane down": ("crane down and in", "descent and push in", "swoop down"),
    "whip left": ("whip pan left", "whip pan to the left", "fast whip left"),
    "whip right": ("whip pan right", "whip pan to the right", "fast whip right"),
    "lead": ("leading shot", "walk-back ahead of {subject}"),
    "follow": ("following shot", "follow from behind", "trailing shot"),
    "track left": ("tracking shot left with {subject}", "side tracking to the left"),
    "track right": ("tracking shot right with {subject}", "side tracking to the right"),
}  # fmt: skip

SIZES: dict[str, tuple[str, ...]] = {
    "extreme wide": ("extreme wide shot", "EWS", "very wide shot", "extreme long shot", "vast wide view"),
    "wide": ("wide shot", "WS", "long shot", "full shot", "wide", "establishing shot", "full-body shot", "wide view"),
    "medium wide": ("medium wide shot", "MWS", "cowboy shot", "medium long shot", "three-quarter shot"),
    "medium": ("medium shot", "MS", "mid shot", "waist shot", "medium", "waist-up shot"),
    "medium close": ("medium close-up", "MCU", "chest shot", "medium close shot", "loose close-up"),
    "close": ("close-up", "CU", "close up", "tight shot", "close shot", "tight close-up"),
}  # fmt: skip

ANGLES: dict[str, tuple[str, ...]] = {
    "eye": ("", "", "", "", "at eye level", "eye-level", "straight on", "level with the eyes"),
    "low": ("from a low angle", "low angle", "seen from below", "from near the floor", "low-angle view"),
    "high": ("from a high angle", "high angle", "seen from above", "looking down from above", "high-angle view"),
    "overhead": ("from overhead", "bird's-eye view", "top-down", "from almost straight above"),
}

SIDES: dict[str, tuple[str, ...]] = {
    "front": ("from the front", "facing us", "head-on", "facing the camera", "", ""),
    "front left": ("from the front left", "three-quarter view from the left", "left three-quarter"),
    "front right": ("from the front right", "three-quarter view from the right", "right three-quarter"),
    "left": ("in profile from the left", "from the left side", "left profile", "side-on from the left"),
    "right": ("in profile from the right", "from the right side", "right profile", "side-on from the right"),
    "back left": ("from behind on the left", "over the left shoulder", "from the rear left"),
    "back right": ("from behind on the right", "over the right shoulder", "from the rear right"),
    "back": ("from behind", "from the back", "seen from behind", "with the back to us"),
}

SPEEDS: dict[str, tuple[str, ...]] = {
    "slow": ("slowly", "gently", "gradually", "softly", "almost imperceptibly", "with patience", "slightly", "subtly"),
    "normal": ("", "", "", "smoothly", "steadily", "evenly"),
    "fast": ("quickly", "fast", "rapidly", "in one big move", "briskly", "dramatically", "urgently", "in a wide sweep"),
}

SPEED_ADJECTIVES: dict[str, tuple[str, ...]] = {
    "slow": ("slow", "gentle", "subtle", "gradual", "soft", "long slow", "slight"),
    "normal": ("", "", "smooth", "steady", "simple", "even"),
    "fast": ("fast", "quick", "rapid", "big", "dramatic", "brisk", "sweeping"),
}

PURPOSES = (
    "to reveal the room", "to show what waits there", "as the tension grows", "to keep the mood", "to find a detail",
    "so that we feel the distance", "to underline the moment", "as music swells", "in silence", "to give the scene air",
    "while the light fades", "revealing the background", "to isolate the figure", "to close the scene", "to open the scene",
    "for emphasis", "building suspense", "with a documentary feel", "as if someone were watching", "capturing the emotion",
)  # fmt: skip

PLACES = (
    "an empty street", "a diner", "a rooftop", "a desert road", "a train station", "a snowy field", "a warehouse", "a garden",
    "a hotel corridor", "a parking lot", "a small kitchen", "a beach", "a museum hall", "a forest clearing", "a school yard",
    "a quiet office", "a harbor", "a market", "a courtroom", "a church", "a farm", "a subway platform", "a ruined castle",
    "a laboratory", "a bar", "a bus stop", "a dance studio", "a library", "a bridge", "a stadium",
)  # fmt: skip

MOODS = (
    "at night", "at dawn", "in the rain", "on a bright morning", "under neon light", "in thick fog", "at sunset", "in winter",
    "on a hot afternoon", "by candlelight", "in the last light", "before a storm", "after closing time", "in black and white",
    "in warm colors", "in a tense silence", "in a playful tone", "like a memory", "with a film-noir look", "in the 1970s",
)  # fmt: skip

DISTRACTORS = (
    "{She} reads an old letter.", "A door slams somewhere.", "Rain runs down the window on the left.", "{She} looks up at the clock.",
    "The phone rings twice.", "Birds cross the sky.", "{She} turns to the right and listens.", "Dust hangs in the air.",
    "Someone laughs off screen.", "{She} takes a step back.", "Leaves move in the wind.", "{She} says nothing.",
    "The lamp on the right flickers.", "A train passes behind.", "{She} puts the cup down.", "{She} leans forward.",
    "Soft piano music.", "Shallow depth of field.", "Anamorphic lens, film grain.", "35mm, natural light.", "Warm backlight.",
    "{She} raises a hand.", "{She} walks up the stairs in memory.", "Cold blue tones.", "The crowd is silent.", "Nobody moves.",
    "{She} lowers the gun.", "The sun is going down.", "A clock ticks upward to noon.", "{She} remembers the war.",
)  # fmt: skip

NAMES = (
    "Anna", "Marcus", "Elena", "Tom", "Maya", "Jonas", "Ruth", "Kenji", "Lena", "Omar", "Grace", "Victor", "Iris", "Paul", "Nadia",
    "Sam", "Clara", "Diego", "June", "Walter", "Aiko", "Ben", "Sofia", "Max", "Ines", "Leo", "Mina", "Carl", "Zoe", "Hugo",
)  # fmt: skip

THINGS = (
    "door", "window", "letter", "clock", "lamp", "mirror", "table", "suitcase", "gun", "phone", "photograph", "staircase", "piano",
    "bridge", "river", "sky", "ceiling", "floor", "tower", "street", "crowd", "car", "train", "tree", "wall", "fire", "candle",
    "painting", "book", "knife", "glass", "bottle", "chair", "bed", "curtain", "garden", "church", "mountain", "sea", "horizon",
    "hand", "face", "eyes", "shoes", "hat", "coat", "ring", "necklace", "map", "radio", "television", "screen", "sign", "statue",
    "roof", "gate", "fence", "field", "boat", "lighthouse", "city", "skyline", "alley", "corridor", "elevator", "kitchen", "stage",
)  # fmt: skip

QUALITIES = (
    "old", "empty", "broken", "dark", "bright", "silent", "distant", "narrow", "tall", "small", "wooden", "golden", "rusty", "wet",
    "open", "closed", "crowded", "dusty", "burning", "frozen", "white", "black", "red", "blue", "quiet", "huge", "tiny", "strange",
)  # fmt: skip

DEEDS = (
    "opens", "closes", "looks at", "touches", "picks up", "puts down", "studies", "remembers", "points at", "drops", "hides",
    "carries", "watches", "ignores", "repairs", "paints", "walks past", "sits beside", "hesitates before", "stares at", "throws away",
    "holds", "reaches for", "turns off", "climbs", "enters", "leaves", "crosses", "listens to", "dreams of", "runs to", "kneels by",
)  # fmt: skip

HAPPENINGS = (
    "creaks", "falls", "shakes", "glows", "fades", "disappears in the fog", "burns", "moves in the wind", "goes dark", "waits",
    "reflects the light", "hums", "stands in the rain", "is still", "rises in the distance", "turns slowly", "swings left and right",
    "shines from above", "lies on the ground", "is covered with snow", "comes closer", "fills the room", "breaks the silence",
)  # fmt: skip

TAILS: dict[str, tuple[str, ...]] = {
    "yaw": ("to {thing}", "across {thing}", "along {thing}", "to follow {short}", "from {thing} to {thing2}", "to reveal {thing}", "over {thing}", "until we see {thing}", "away from {thing}"),
    "pitch": ("to {thing}", "from {thing} to {thing2}", "to reveal {thing}", "along {thing}", "until we see {thing}", "over {thing}"),
    "roll": ("until the horizon is crooked", "as if drunk", "disorienting us", "around {thing}", "like a falling plane"),
    "side": ("past {thing}", "along {thing}", "to reveal {thing}", "behind {thing}", "across {thing}", "through {thing}", "with {short}", "parallel to {thing}"),
    "forward": ("toward {thing}", "on {thing}", "through {thing}", "past {thing}", "until {thing} fills the frame", "on the face of {short}", "into {thing}", "to {thing}"),
    "backward": ("from {thing}", "to reveal {thing}", "through {thing}", "until {short} is small in the frame", "away from {thing}", "and reveal {thing}"),
    "up": ("over {thing}", "above {thing}", "along {thing}", "to reveal {thing}", "toward {thing}", "past {thing}", "until we see {thing} below"),
    "down": ("to {thing}", "past {thing}", "along {thing}", "toward {thing}", "to the level of {thing}", "behind {thing}", "onto {thing}"),
}  # fmt: skip
"""Phrases that may follow a move: where it goes, what it passes, what it reveals."""

TAIL_OF = {
    "yaw left": "yaw", "yaw right": "yaw", "whip left": "yaw", "whip right": "yaw", "pitch up": "pitch", "pitch down": "pitch",
    "roll left": "roll", "roll right": "roll", "move left": "side", "move right": "side", "move forward": "forward",
    "move backward": "backward", "move up": "up", "move down": "down", "crane up": "up", "crane down": "down",
}  # fmt: skip

_THIRD = {"do": "does", "go": "goes", "lie": "lies"}
_GERUND = {
    "lie": "lying", "pan": "panning", "sit": "sitting", "tip": "tipping", "stop": "stopping", "spin": "spinning", "slip": "slipping",
    "put": "putting", "drop": "dropping", "get": "getting", "wrap": "wrapping", "step": "stepping", "dip": "dipping",
    "nod": "nodding", "scan": "scanning", "whip": "whipping", "snap": "snapping", "jib": "jibbing", "track": "tracking",
    "swivel": "swiveling", "rotate": "rotating", "pedestal": "pedestaling", "travel": "traveling", "level": "leveling",
    "crab": "crabbing", "point": "pointing", "float": "floating", "tighten": "tightening", "fly": "flying",
}  # fmt: skip


def third_person(phrase: str) -> str:
    """Returns the third person of a verb phrase in base form: push in → pushes in."""
    verb, _, rest = phrase.partition(" ")
    if verb in _THIRD:
        verb = _THIRD[verb]
    elif verb.endswith(("s", "sh", "ch", "x", "z")):
        verb += "es"
    elif verb.endswith("y") and verb[-2] not in "aeiou":
        verb = verb[:-1] + "ies"
    else:
        verb += "s"
    if phrase.startswith("do not "):
        return "does not " + phrase[len("do not ") :]
    return f"{verb} {rest}".strip()


def gerund(phrase: str) -> str:
    """Returns the gerund of a verb phrase in base form: push in → pushing in."""
    if phrase.startswith("do not "):
        return "not moving"
    verb, _, rest = phrase.partition(" ")
    if verb in _GERUND:
        verb = _GERUND[verb]
    elif verb.endswith("ee") or not verb.endswith("e"):
        verb += "ing"
    else:
        verb = verb[:-1] + "ing"
    return f"{verb} {rest}".strip()
