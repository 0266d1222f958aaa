package server

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"strings"
)

// keyName is the name that the budget and the ledger know clients by that have
// no key of their own.
const keyName = "serve"

// keyed says whether clients need a key.
func (o *Options) keyed() bool { return o.Key != "" || len(o.Keys) > 0 }

// checkKeys refuses keys that no header can carry, and one key of two clients.
func (o *Options) checkKeys() error {
	seen := map[string]string{}
	for name, key := range o.all() {
		switch {
		case strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }):
			return fmt.Errorf("the key of %s has characters a key can't have (spaces, line ends)", name)
		case key == "":
			return fmt.Errorf("the key of %s is empty", name)
		case seen[key] != "":
			return fmt.Errorf("%s and %s have the same key", min(name, seen[key]), max(name, seen[key]))
		}
		seen[key] = name
	}
	return nil
}

// all are the keys by their clients' names.
func (o *Options) all() map[string]string {
	keys := map[string]string{}
	if o.Key != "" {
		keys[keyName] = o.Key
	}
	for name, key := range o.Keys {
		keys[name] = key
	}
	return keys
}

// client is the name of who asks, by the key sent; ok is false without a right
// one. It compares in a time that depends on no key, not even its length.
func (s *Server) client(r *http.Request) (name string, ok bool) {
	if !s.opt.keyed() {
		return keyName, true
	}
	scheme, key, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	got := sha256.Sum256([]byte(strings.TrimSpace(key)))
	for n, k := range s.opt.all() {
		if want := sha256.Sum256([]byte(k)); subtle.ConstantTimeCompare(got[:], want[:]) == 1 {
			name, ok = n, true
		}
	}
	return name, ok && strings.EqualFold(scheme, "bearer")
}

// hasKey says whether a request has a right key, or needs none.
func (s *Server) hasKey(r *http.Request) bool {
	_, ok := s.client(r)
	return ok
}
