package upstream

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"crayon/internal/fault"
	"crayon/internal/store"

	"github.com/gofrs/flock"
)

// taints are the conversations that held something private, by the digest of
// their ids: those of this process, and those that any process wrote to the
// file, a line each. Nothing is ever taken out.
type taints struct {
	path string // "" keeps them in memory alone

	mu     sync.Mutex
	seen   map[[sha256.Size]byte]bool
	offset int64 // read of the file
}

// taintLine is a line of the file, in bytes: a digest in hex and its end.
const taintLine = 2*sha256.Size + 1

// add notes a conversation; "" is none. It is held in memory also where the
// file can't be written, which is the error.
func (t *taints) add(id string) error {
	if id == "" {
		return nil
	}
	d := sha256.Sum256([]byte(id))
	t.mu.Lock()
	defer t.mu.Unlock()
	known := t.known(d)
	if t.seen == nil {
		t.seen = map[[sha256.Size]byte]bool{}
	}
	t.seen[d] = true
	if known || t.path == "" {
		return nil
	}
	return t.append(hex.EncodeToString(d[:]) + "\n")
}

func (t *taints) append(line string) (err error) {
	fail := func(err error) error { return &fault.Error{Op: "note private conversation", Path: t.path, Err: err} }
	if err := store.MakeDir(filepath.Dir(t.path)); err != nil {
		return err
	}
	lock := flock.New(t.path+".lock", flock.SetPermissions(0o600))
	if err := lock.Lock(); err != nil {
		return fail(err)
	}
	defer lock.Unlock()
	f, err := os.OpenFile(t.path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fail(err)
	}
	defer func() {
		if cerr := f.Close(); err == nil && cerr != nil {
			err = fail(cerr)
		}
	}()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return fail(err)
	}
	// What a crash left of a line is written over.
	if _, err := f.WriteAt([]byte(line), size-size%taintLine); err != nil {
		return fail(err)
	}
	if err := f.Sync(); err != nil {
		return fail(err)
	}
	return nil
}

// has says whether a conversation is one of them. A file that is there and
// can't be read is an error: then any conversation may be.
func (t *taints) has(id string) (bool, error) {
	if id == "" {
		return false, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	d := sha256.Sum256([]byte(id))
	if t.known(d) {
		return true, nil
	}
	if err := t.refresh(); err != nil {
		return false, &fault.Error{Op: "read private conversations", Path: t.path, Err: err}
	}
	return t.known(d), nil
}

func (t *taints) known(d [sha256.Size]byte) bool { return t.seen[d] }

// refresh reads what was written to the file since the last time.
func (t *taints) refresh() error {
	if t.path == "" {
		return nil
	}
	f, err := os.Open(t.path)
	if errors.Is(err, os.ErrNotExist) {
		t.offset = 0
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() < t.offset {
		t.offset = 0 // begun anew
	}
	if info.Size()-t.offset < taintLine {
		return nil
	}
	if _, err := f.Seek(t.offset, io.SeekStart); err != nil {
		return err
	}
	if t.seen == nil {
		t.seen = map[[sha256.Size]byte]bool{}
	}
	br := bufio.NewReader(f)
	for {
		line := make([]byte, taintLine)
		_, err := io.ReadFull(br, line)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil
		}
		if err != nil {
			return err
		}
		t.offset += taintLine
		if raw, err := hex.DecodeString(strings.TrimSpace(string(line))); err == nil && len(raw) == sha256.Size {
			t.seen[[sha256.Size]byte(raw)] = true
		}
	}
}
