package bench

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"path/filepath"

	"crayon/internal/fault"
	"crayon/internal/store"
)

// part is what a run has of one user, so that a run that is stopped goes on
// with the next.
type part struct {
	Key     string             `json:"key"` // of the user and everything that decides the run
	Sheets  []Sheet            `json:"sheets"`
	Timing  map[string]*Timing `json:"timing"`
	Swap    string             `json:"swap,omitempty"` // whose blend `swapped` used
	Blind   int                `json:"blind,omitempty"`
	Samples []Sample           `json:"samples,omitempty"`
	Chats   []ChatSample       `json:"chats,omitempty"`
	Dump    []byte             `json:"dump,omitempty"`
}

// key of a user's part.
func (r *runner) key(u *User) (string, error) {
	var ids []string
	for i := range u.scored {
		ids = append(ids, u.scored[i].ID)
	}
	text, err := json.Marshal(map[string]any{
		"settings": r.settings(), "digests": r.opt.Digests, "device": r.opt.Device, "user": u.Name, "group": u.Group, "rows": ids,
		"scores": r.opt.Scores, "generate": r.opt.Generate, "elsewhere": r.opt.Elsewhere, "dump": r.opt.Dump != nil,
	})
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), err
}

// kept is a user's part from the folder of a run that was stopped, or nil. One
// of another run is no part of this.
func (r *runner) kept(key string) (*part, error) {
	if r.opt.Resume == "" {
		return nil, nil
	}
	path := r.partFile(key)
	data, err := store.ReadFile(path, most)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	p := &part{}
	zr, err := gzip.NewReader(bytes.NewReader(data))
	if err == nil {
		err = json.NewDecoder(io.LimitReader(zr, 4*most)).Decode(p)
	}
	if err == nil && p.Key != key {
		err = errors.New("it is of another run")
	}
	for i := range p.Sheets {
		if err == nil {
			err = p.Sheets[i].check()
		}
	}
	if err != nil {
		return nil, &fault.Error{Op: "go on with benchmark", Path: path, Err: err, Exit: fault.ExitVerify, Hint: "remove the file: its user is scored again"}
	}
	return p, nil
}

// store keeps a finished part for a later run.
func (r *runner) store(p *part) error {
	if r.opt.Resume == "" {
		return nil
	}
	return store.WriteFile(r.partFile(p.Key), func(w io.Writer) error {
		zw := gzip.NewWriter(w)
		if err := json.NewEncoder(zw).Encode(p); err != nil {
			return err
		}
		return zw.Close()
	})
}

func (r *runner) partFile(key string) string {
	return filepath.Join(r.opt.Resume, key[:24]+".json.gz")
}

// take adds a user's part to the run.
func (r *runner) take(u *User, p *part) error {
	for name, t := range p.Timing {
		if r.timing[name] == nil {
			r.timing[name] = &Timing{}
		}
		r.timing[name].add(t)
	}
	if p.Swap != "" {
		r.swaps[u.Name] = p.Swap
	}
	r.blind += p.Blind
	r.samples = append(r.samples, p.Samples...)
	r.elsewhere.samples = append(r.elsewhere.samples, p.Chats...)
	if len(p.Chats) > 0 {
		r.elsewhere.users++
	}
	r.progress.Done += len(r.run) * len(r.opt.Shots) * r.opt.Draws
	r.show()
	if r.opt.Dump != nil {
		if _, err := r.opt.Dump.Write(p.Dump); err != nil {
			return &fault.Error{Op: "write features of", Path: u.Name, Err: err}
		}
	}
	return nil
}
