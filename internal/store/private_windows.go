package store

// OpenToOthers is false: Windows keeps who may read in lists that the mode
// does not show.
func OpenToOthers(string) (bool, error) { return false, nil }
