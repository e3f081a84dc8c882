"""Reading and writing video and pictures: exact timestamps, untouched sound, constant memory."""
