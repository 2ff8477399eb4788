"""What the study is made to survive, and what it must refuse; README.md here has the table of what was tried."""
