package store

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"crayon/internal/fault"
	"crayon/internal/gguf"
)

// known is the digest of a file as it was when it had this size and time.
type known struct {
	Path     string `json:"path"`
	Bytes    int64  `json:"bytes"`
	Modified int64  `json:"modified"` // nanoseconds since 1970
	SHA256   string `json:"sha256"`
}

// Digest is the sha256 of a large file, hex, computed once and then taken from
// the cache folder as long as the file's size and time of change stay the same.
// It is for telling files apart, not for trusting one: who can change the file
// can change the cache. A cache that can't be written is no error.
func (p Paths) Digest(path string) (string, error) {
	fail := func(err error) (string, error) {
		return "", &fault.Error{Op: "digest", Path: path, Err: err}
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return fail(err)
	}
	st, err := os.Stat(path)
	if err != nil {
		return fail(err)
	}
	now := known{Path: path, Bytes: st.Size(), Modified: st.ModTime().UnixNano()}
	name := sha256.Sum256([]byte(path))
	note := filepath.Join(p.Cache, "digests", fmt.Sprintf("%x.json", name[:8]))
	var was known
	if data, err := ReadFile(note, 1<<16); err == nil && json.Unmarshal(data, &was) == nil {
		now.SHA256 = was.SHA256
		if b, err := hex.DecodeString(was.SHA256); err == nil && len(b) == sha256.Size && was == now {
			return was.SHA256, nil
		}
	}
	if now.SHA256, err = gguf.Digest(path); err != nil {
		return "", err
	}
	if data, err := json.Marshal(now); err == nil {
		_ = WriteBytes(note, data)
	}
	return now.SHA256, nil
}
