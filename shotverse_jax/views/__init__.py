"""Pictures and films for people: plots, contact sheets, previews and video files."""
