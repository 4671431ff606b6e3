"""The reliability campaign: hostile files, kills, faults and several processes."""
