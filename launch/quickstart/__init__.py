"""./quickstart: the main job from start to end, at a size that two cores do in minutes."""
