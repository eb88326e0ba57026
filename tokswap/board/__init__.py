"""The leaderboard: methods x pairs of models x texts, measured in one way, resumable, as one table.

    config = make_leaderboard(load_recipe(Path("recipes/leaderboard.yaml")))
    report = run_leaderboard(config)

Each cell is the real straight line in a process of its own, so that its time and its memory are the operating
system's figures and a cell that fails takes nobody with it.
"""
