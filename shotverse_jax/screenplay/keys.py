"""What the keys of shot lists are called, by people, spreadsheets and language models, in several languages."""

import re
from typing import Any

from shotverse_jax.text_files import column_name


def _names(**kinds: str) -> dict[str, str]:
    return {name: kind for kind, names in kinds.items() for name in names.split()}


SCENE_KEYS = _names(
    caption="caption global_caption global_prompt globalcaption scene_caption scene_description scene "
    "scene_prompt prompt description synopsis summary overview story premise 全局描述 场景描述 场景",
    shots="shots shot_list shotlist shot_captions shotcaptions storyboard segments clips shot_descriptions "
    "captions sequence 镜头 分镜 分镜头 ショット カット",
    scenes="scenes scene_list 场次",
    title="title name scene_title scene_name heading slugline scene_heading film_title project 标题",
    look="style visual_style look mood tone lighting atmosphere genre setting location characters "
    "character cast time_of_day weather color_palette colour_palette palette environment subject "
    "subjects 风格 人物 角色",
    fps="fps frame_rate framerate frames_per_second 帧率",
    width="width w",
    height="height h",
    size="resolution size dimensions",
    frames="frames num_frames total_frames frame_count n_frames numframes",
    cuts="shot_cut_frames cut_frames cuts",
    duration="duration total_duration duration_seconds total_duration_seconds length runtime total_length 总时长",
    number="scene_number scene_id id number",
    lora="lora loras adapter adapters",
)  # fmt: skip
"""What a key of a scene is, by its name as `key_name` gives it."""
SHOT_KEYS = _names(
    caption="caption shot_caption description desc shot_description prompt text action content visual visuals "
    "visual_description image scene_description details what summary subject 画面 画面内容 画面描述 内容 描述 镜头描述 "
    "内容描述 説明 描写 beschreibung bild inhalt descripción descripcion descrição contenu",
    size="shot_size size shot_type type framing shot_scale shotsize 景别 景別 ショットサイズ サイズ "
    "einstellungsgrösse valeur encuadre",
    angle="angle camera_angle view perspective 角度 アングル perspektive",
    camera="camera camera_movement movement camera_motion motion move camera_move cameramovement moves 运镜 "
    "镜头运动 运动 摄像机 机位运动 カメラ カメラワーク kamera kamerabewegung bewegung mouvement movimiento",
    lens="lens focal_length 镜头焦距 焦距 レンズ objektiv",
    look="lighting mood style location setting characters character time_of_day background props equipment "
    "光线 场地 地点",
    dialogue="dialogue dialog line lines speech 台词 对白 対白 セリフ 台詞 dialoge diálogo",
    duration="duration duration_seconds duration_s duration_sec durations seconds secs sec length "
    "length_seconds time dur durationseconds durationsec est_time 时长 時長 时间 時間 秒 秒数 尺 長さ dauer länge "
    "durée duree duración duracion",
    milliseconds="duration_ms durationms milliseconds ms",
    frames="frames num_frames frame_count duration_frames 帧数 フレーム数",
    start="start start_time start_seconds start_s in time_in start_timecode starttime from begin "
    "timecode_in 开始",
    end="end end_time end_seconds end_s out time_out end_timecode endtime to timecode_out 结束",
    span="timecode time_range timerange time_code timestamp timestamps tc 时间码",
    number="shot shot_number shot_no shot_id number no nr id index # n shotnumber cut cut_no 镜号 序号 镜头 镜头号 "
    "カット カット番号 番号 einstellung plan toma",
    scene="scene scene_number scene_no scene_id scene_name 场次 场景 シーン szene scène escena",
    lora="lora loras adapter adapters",
    out="notes note audio sound sfx sound_effects music voiceover voice_over vo narration transition "
    "title name status url 备注 音效 音乐 旁白 音声 備考 音楽 转场",
)  # fmt: skip
"""What a key of a shot, or a column of a table of shots, is."""
SIZES = {
    "ews": "Extreme wide shot", "els": "Extreme long shot", "xws": "Extreme wide shot", "ws": "Wide shot",
    "ls": "Long shot", "fs": "Full shot", "mws": "Medium wide shot", "mls": "Medium long shot", "ms": "Medium shot",
    "mcu": "Medium close-up", "cu": "Close-up", "bcu": "Big close-up", "ecu": "Extreme close-up",
    "xcu": "Extreme close-up",
    "ots": "Over-the-shoulder shot", "pov": "Point-of-view shot", "2s": "Two-shot", "est": "Establishing shot",
}  # fmt: skip
"""What the abbreviations of shot sizes mean."""
SUMS = ("total", "sum", "summe", "合计", "总计", "合計", "suma", "somme")
"""What the row of a table says that has the sum of all lengths."""


def key_name(key: Any) -> str:
    """A key as it is compared: "shotNumber" and "Shot Number" are both shot_number."""
    key = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key) if isinstance(key, str) else str(key)
    return column_name(re.sub(r"[(\[（].*?[)\]）]", "", key)).strip(".:")
