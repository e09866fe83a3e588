package cmd

// descriptors returns how many handles for connections and files the process may use. Windows has no limit of its own
// that would be reached first.
func descriptors() int { return 1 << 16 }
