//go:build unix

package store

import "os"

// OpenToOthers says whether the group or others may read a file.
func OpenToOthers(path string) (bool, error) {
	info, err := os.Stat(path)
	if err != nil {
		return false, err
	}
	return info.Mode().Perm()&0o044 != 0, nil
}
