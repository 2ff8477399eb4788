"""What turns notebooks into a study: plan, pages, tuning, leaderboard."""
