package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"crayon/internal/fault"
	"crayon/internal/store"
)

// fromFiles says whether keys come from their files: those are set, and no
// stronger layer sets the keys themselves.
func fromFiles(effective layer, name string, keys, files bool) (bool, error) {
	direct, file := effective[name], effective[name+"_file"]
	switch {
	case !files:
		return false, nil
	case keys && direct.rank == file.rank:
		return false, &fault.Error{Op: "read config", Path: direct.from, Err: fmt.Errorf("both %s and %s_file are set", name, name), Hint: "leave one of them out", Exit: fault.ExitUsage}
	}
	return !keys || direct.rank < file.rank, nil
}

func notEmpty(s string) bool { return s != "" }

func (s *Server) hasKey() bool { return slices.ContainsFunc(s.Keys, notEmpty) }

// serverKeys fills the servers' keys from their files.
func (s *Settings) serverKeys(effective layer) error {
	read, err := fromFiles(effective, "server.key", s.Server.hasKey(), slices.ContainsFunc(s.Server.KeyFiles, notEmpty))
	if err != nil || !read {
		return err
	}
	s.Server.Keys = make([]string, len(s.Server.KeyFiles))
	for i, path := range s.Server.KeyFiles {
		if path == "" {
			continue
		}
		if s.Server.Keys[i], err = s.readKey(path, "server.key_file", effective); err != nil {
			return err
		}
	}
	return nil
}

// serveKey fills the key of crayon serve from its file.
func (s *Settings) serveKey(effective layer) error {
	read, err := fromFiles(effective, "serve.key", s.Serve.Key != "", s.Serve.KeyFile != "")
	if err == nil && read {
		s.Serve.Key, err = s.readKey(s.Serve.KeyFile, "serve.key_file", effective)
	}
	return err
}

// readKey reads a key file, which setting names.
func (s *Settings) readKey(path, setting string, effective layer) (string, error) {
	data, err := store.ReadFile(path, 64<<10)
	key := strings.TrimSpace(string(data))
	switch {
	case err != nil:
		err = errors.Unwrap(err)
	case key == "":
		err = errors.New("it is empty")
	case strings.ContainsAny(key, "\r\n"):
		err = errors.New("it has more than one line")
	}
	if err != nil {
		return "", &fault.Error{Op: "read key file", Path: path, Err: err, Hint: "check " + setting + " (" + effective[setting].from + ")", Exit: fault.ExitUsage}
	}
	if open, err := store.OpenToOthers(path); err == nil && open {
		s.Warnings = append(s.Warnings, fmt.Sprintf("others may read %s: chmod 600 %s", path, path))
	}
	return key, nil
}

// align makes the keys and models as many as the addresses. One model's name
// serves all of them; a key only ever goes to the address in its own place.
func (s *Server) align(effective layer) error {
	n := len(s.URLs)
	if n > 1 && len(s.Models) == 1 {
		s.Models = slices.Repeat(s.Models, n)
	}
	for _, list := range []struct {
		name, what string
		values     *[]string
	}{{"server.key", "keys", &s.Keys}, {"server.model", "models", &s.Models}} {
		// Without any address there is nobody to be told a key or a model.
		if have := len(*list.values); n > 0 && have > n {
			place := effective[list.name]
			if file := effective[list.name+"_file"]; file.rank > place.rank {
				place = file
			}
			return &fault.Error{Op: "read config", Path: place.from, Err: fmt.Errorf("%d %s for %d addresses in server.url (%s)", have, list.what, n, effective["server.url"].from),
				Hint: "as many in " + list.name + " as in server.url, in the same order; an empty one is none", Exit: fault.ExitUsage}
		}
		*list.values = append(*list.values, make([]string, max(0, n-len(*list.values)))...)
	}
	return nil
}
