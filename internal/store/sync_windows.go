package store

import (
	"errors"

	"golang.org/x/sys/windows"
)

// syncDir does nothing: Windows has no sync of a folder, and NTFS journals a
// rename.
func syncDir(string) error { return nil }

func isQuota(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL) ||
		errors.Is(err, windows.ERROR_DISK_QUOTA_EXCEEDED)
}

// OpenToOthers is false: Windows keeps who may read in lists that the mode
// does not show.
func OpenToOthers(string) (bool, error) { return false, nil }
