"""From a shelf of edited films to a data set of scenes, as ShotVerse-Bench: built, checked, browsed."""
