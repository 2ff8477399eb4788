"""What every room stands on: errors, paths, files, names, code of the user."""
