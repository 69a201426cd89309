"""The commands of ``icvos build-data``, one file each."""
