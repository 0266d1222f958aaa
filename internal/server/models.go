package server

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"

	"crayon/internal/customize"
	"crayon/internal/device"
	"crayon/internal/store"
)

// shelf finds customisations by model name and binds each to the device once.
type shelf struct {
	store  *store.Customisations
	device *device.Device
	base   string

	mu    sync.Mutex // held while binding: Bind writes to the customisation
	bound map[string]*bound
}

// bound is a customisation with the content it was read from.
type bound struct {
	sum    [sha256.Size]byte
	custom *customize.Customisation
	row    []float32
}

// find is the customisation a model name means, nil for the base model. An
// unknown name is an error that names the nearest; it is never the base model.
func (s *shelf) find(ctx context.Context, model string) (*customize.Customisation, error) {
	s.sweep()
	name, err := s.named(model)
	if err != nil || name == "" {
		return nil, err
	}
	data, err := s.store.Get(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, s.unknown(model)
	}
	if err != nil {
		return nil, err
	}
	return s.bind(ctx, name, data)
}

// named is the name of the customisation a model name means, "" for the base
// model. That it is there is all that is looked at.
func (s *shelf) named(model string) (string, error) {
	if model == s.base {
		return "", nil
	}
	if s.device.Adapter != "" {
		return "", &HTTPError{Status: http.StatusNotFound, Code: "model_not_found", Param: "model",
			Message: fmt.Sprintf("there is no model %q; the adapter %q answers here, and there are no customisations", clip(model), s.base)}
	}
	name, ok := strings.CutPrefix(model, s.base+"+")
	if !ok || store.CheckName(name) != nil {
		return "", s.unknown(model)
	}
	if _, err := os.Stat(s.store.Path(name)); errors.Is(err, os.ErrNotExist) {
		return "", s.unknown(model)
	}
	return name, nil
}

// bind reads and binds a customisation, unless the same content was before.
func (s *shelf) bind(ctx context.Context, name string, data []byte) (*customize.Customisation, error) {
	sum := sha256.Sum256(data)
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.bound[name]; b != nil && b.sum == sum {
		return b.custom, nil
	}
	s.forget(name)
	c, err := customize.Unmarshal(name, data)
	if err != nil {
		return nil, err
	}
	c.Beside(s.store.Beside)
	row, err := c.Bind(ctx, s.device)
	if err != nil {
		return nil, err
	}
	s.bound[name] = &bound{sum, c, row}
	return c, nil
}

// forget drops what is known of a name, and what was computed under it. The
// caller holds mu.
func (s *shelf) forget(name string) {
	if b := s.bound[name]; b != nil {
		s.device.Forget(b.row)
		delete(s.bound, name)
	}
}

// sweep forgets the customisations that were removed.
func (s *shelf) sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.bound {
		if _, err := os.Stat(s.store.Path(name)); errors.Is(err, os.ErrNotExist) {
			s.forget(name)
		}
	}
}

func (s *shelf) unknown(model string) error {
	e := &HTTPError{Status: http.StatusNotFound, Code: "model_not_found", Param: "model"}
	entries, err := s.store.List()
	if err != nil {
		return err
	}
	ids := []string{s.base}
	for _, x := range entries {
		ids = append(ids, s.base+"+"+x.Name)
	}
	e.Message = fmt.Sprintf("there is no model %q", clip(model))
	near := ""
	for _, x := range entries { // a customisation's bare name is the likeliest slip
		if strings.EqualFold(x.Name, model) {
			near = s.base + "+" + x.Name
		}
	}
	if near == "" {
		near = store.Nearest(model, ids)
	}
	if near != "" {
		e.Message += fmt.Sprintf("; did you mean %q?", near)
	} else {
		e.Message += "; /v1/models lists those there are"
	}
	return e
}

type modelObject struct {
	ID      string `json:"id"`
	Object  string `json:"object"` // "model"
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
	Parent  string `json:"parent,omitempty"` // the model a customisation is of
}

func (s *Server) objects() ([]modelObject, error) {
	entries, err := s.opt.Customisations.List()
	if err != nil {
		return nil, err
	}
	base := s.opt.ModelName
	out := []modelObject{{ID: base, Object: "model", Created: s.started.Unix(), OwnedBy: "crayon"}}
	for _, e := range entries {
		if s.opt.Hybrid.Device.Adapter != "" {
			break // none of them can answer beside it
		}
		out = append(out, modelObject{ID: base + "+" + e.Name, Object: "model", Created: e.Changed.Unix(), OwnedBy: "crayon", Parent: base})
	}
	return out, nil
}

func (s *Server) models(w http.ResponseWriter, r *http.Request) error {
	all, err := s.objects()
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, map[string]any{"object": "list", "data": all})
}

func (s *Server) model(w http.ResponseWriter, r *http.Request) error {
	all, err := s.objects()
	if err != nil {
		return err
	}
	for _, m := range all {
		if m.ID == r.PathValue("id") {
			return writeJSON(w, http.StatusOK, m)
		}
	}
	return s.shelf.unknown(r.PathValue("id"))
}

const healthPath = "/healthz"

func (s *Server) health(w http.ResponseWriter, r *http.Request) error {
	h := s.opt.Hybrid
	out := map[string]any{"status": "ok", "local_only": h.LocalOnly}
	if s.hasKey(r) {
		out["model"] = s.opt.ModelName
		out["pool"] = h.Device.Pool.Digest()
		out["server"] = len(h.Servers) > 0 && !h.LocalOnly
	}
	return writeJSON(w, http.StatusOK, out)
}
