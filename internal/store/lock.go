package store

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"crayon/internal/fault"

	"github.com/gofrs/flock"
)

// ErrLocked is the cause when another process holds the lock.
var ErrLocked = errors.New("in use by another process")

// lockPoll is how often a waiting Lock looks again.
const lockPoll = 20 * time.Millisecond

// Held is a lock that is held; Unlock gives it back. It ends with the
// process, however that ends.
type Held struct{ f *flock.Flock }

// Lock takes the lock file at path, waiting until ctx ends. It excludes other
// processes and other holders in this one. The empty file stays behind.
func Lock(ctx context.Context, path string) (*Held, error) {
	f, err := openLock(path)
	if err != nil {
		return nil, err
	}
	ok, err := f.TryLockContext(ctx, lockPoll)
	return held(f, path, ok, err)
}

// TryLock takes the lock file at path or fails at once with ErrLocked.
func TryLock(path string) (*Held, error) {
	f, err := openLock(path)
	if err != nil {
		return nil, err
	}
	ok, err := f.TryLock()
	return held(f, path, ok, err)
}

func openLock(path string) (*flock.Flock, error) {
	if err := MakeDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	return flock.New(path, flock.SetPermissions(0o600)), nil
}

func held(f *flock.Flock, path string, ok bool, err error) (*Held, error) {
	if err == nil && !ok {
		err = ErrLocked
	}
	if err != nil {
		f.Close()
		hint := ""
		if errors.Is(err, ErrLocked) || errors.Is(err, context.DeadlineExceeded) {
			hint = "wait for the other crayon to finish, then try again"
		}
		return nil, &fault.Error{Op: "lock", Path: path, Err: err, Hint: hint}
	}
	return &Held{f}, nil
}

// Unlock gives the lock back. A second call does nothing.
func (h *Held) Unlock() error { return h.f.Unlock() }
