package pull

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"crayon/internal/fault"
	"crayon/internal/store"
	"crayon/internal/upstream"
)

// Bounds of a data set on the hub.
const (
	maxListing  = 64 << 20 // bytes of the hub's list of its files
	maxSetFiles = 1 << 16
	maxSetBytes = 16 << 30 // of one file
)

// Dataset is a hub's data set of which some files are here.
type Dataset struct {
	Address string            // hf://datasets/OWNER/NAME@COMMIT
	Files   map[string]string // path by name in the data set
	Fetched []Result          // as they were pulled, or found here
}

// listing is what the hub says of a data set.
type listing struct {
	SHA      string `json:"sha"` // the commit
	Siblings []struct {
		Name string `json:"rfilename"`
		Size int64  `json:"size"`
		Blob string `json:"blobId"` // git's name of a file that is not in large file storage
		LFS  *struct {
			SHA256 string `json:"sha256"`
		} `json:"lfs"`
	} `json:"siblings"`
}

var commitID = regexp.MustCompile(`^[0-9a-f]{40}$`)

// Dataset brings the files of hf://[datasets/]OWNER/NAME[@REV] that want picks
// from all names into the store, each checked and resumed as a model is. Files
// of a commit are fetched once. What a branch means is asked of the hub each
// time; under local-only, and for a commit, what it said last is taken.
func (p *Puller) Dataset(ctx context.Context, address string, want func(names []string) ([]string, error)) (Dataset, error) {
	fail := func(err error, hint string) (Dataset, error) {
		return Dataset{}, &fault.Error{Op: "pull data", Path: address, Err: err, Hint: hint, Exit: fault.ExitUsage}
	}
	// Any file's address has the form of all.
	bare := strings.TrimPrefix(strings.TrimPrefix(address, "hf://"), "datasets/")
	u, err := ParseURI("hf://datasets/" + bare + "/x")
	if err != nil || strings.Count(bare, "/") != 1 {
		return fail(errors.New("no address of a data set"), "use hf://OWNER/NAME or hf://OWNER/NAME@REVISION, with / in a revision as %2F")
	}
	ctx = upstream.WithWhy(ctx, "pull data "+u.Repo)
	l, err := p.listing(ctx, u)
	if err != nil {
		return Dataset{}, err
	}
	var names []string
	at := map[string]int{}
	for i, f := range l.Siblings {
		u.File, u.Rev = f.Name, l.SHA
		if _, err := ParseURI(u.String()); err != nil || f.Size < 0 || f.Size > maxSetBytes || strings.HasPrefix(path.Base(f.Name), ".") {
			continue // no name for a file here
		}
		names, at[f.Name] = append(names, f.Name), i
	}
	picked, err := want(names)
	if err != nil {
		return fail(err, "docs/data.md shows how splits are named")
	}
	u.File = "x"
	d := Dataset{Address: strings.TrimSuffix(u.String(), "/x"), Files: map[string]string{}}
	for _, name := range picked {
		i, ok := at[name]
		if !ok {
			return fail(fmt.Errorf("it has no file %q", name), "")
		}
		u.File = name
		j := job{name: u.Repo + "/" + name, final: filepath.Join(p.setDir(u), l.SHA, filepath.FromSlash(name)), bytes: l.Siblings[i].Size,
			most: maxSetBytes, sources: []Source{{URIs: []string{u.String()}}}}
		if lfs := l.Siblings[i].LFS; lfs != nil && hexDigest.MatchString(lfs.SHA256) {
			j.sha256 = lfs.SHA256
		}
		r, err := p.run(ctx, j)
		if err != nil {
			return Dataset{}, err
		}
		if blob := l.Siblings[i].Blob; j.sha256 == "" && commitID.MatchString(blob) {
			if err := checkBlob(ctx, r.Path, r.Bytes, blob); err != nil {
				os.Remove(r.Path)
				return Dataset{}, err
			}
			r.Check = Announced
		}
		d.Files[name] = r.Path
		d.Fetched = append(d.Fetched, r)
	}
	return d, nil
}

// checkBlob compares a file with the name that git gives to its bytes.
func checkBlob(ctx context.Context, path string, size int64, want string) error {
	f, err := os.Open(path)
	if err != nil {
		return &fault.Error{Op: "check", Path: path, Err: err}
	}
	defer f.Close()
	h := sha1.New() // what git names blobs by; not a proof against who can forge it
	fmt.Fprintf(h, "blob %d\x00", size)
	if _, err := io.Copy(h, &contextReader{ctx, f}); err != nil {
		return &fault.Error{Op: "check", Path: path, Err: err}
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		return &fault.Error{Op: "check", Path: path, Err: fmt.Errorf("git would name it %s, the hub names it %s", got, want), Hint: "try again; the bytes that came were not the hub's", Exit: fault.ExitVerify}
	}
	return nil
}

// setDir is the folder of a data set's commits and lists.
func (p *Puller) setDir(u URI) string {
	return filepath.Join(p.o.Paths.Sets(), filepath.FromSlash(u.Repo))
}

// listing asks the hub for the files of a revision.
func (p *Puller) listing(ctx context.Context, u URI) (listing, error) {
	api := strings.TrimRight(p.o.Hub, "/") + "/api/datasets/" + u.Repo + "/revision/" + url.PathEscape(u.Rev) + "?blobs=true"
	j := job{name: u.Repo, final: filepath.Join(p.setDir(u), url.PathEscape(u.Rev)+".list"), most: maxListing,
		anew: !commitID.MatchString(u.Rev) && !p.o.Gate.LocalOnly(), sources: []Source{{URIs: []string{api}}}}
	r, err := p.run(ctx, j)
	if err != nil {
		return listing{}, err
	}
	bad := func(err error) (listing, error) {
		os.Remove(r.Path) // it would be taken again
		return listing{}, &fault.Error{Op: "pull data", Path: u.Repo, Err: fmt.Errorf("the hub's list of its files: %w", err), Hint: "check hub and HF_ENDPOINT", Exit: fault.ExitVerify}
	}
	data, err := store.ReadFile(r.Path, maxListing)
	if err != nil {
		return listing{}, err
	}
	l, err := parseListing(data)
	if err != nil {
		return bad(err)
	}
	if commitID.MatchString(u.Rev) && l.SHA != u.Rev {
		return bad(fmt.Errorf("it is of commit %s", l.SHA))
	}
	return l, nil
}

func parseListing(data []byte) (listing, error) {
	var l listing
	if err := json.Unmarshal(data, &l); err != nil {
		return l, err
	}
	if !commitID.MatchString(l.SHA) {
		return l, errors.New("no commit")
	}
	if len(l.Siblings) > maxSetFiles {
		return l, fmt.Errorf("%d files, at most %d are read", len(l.Siblings), maxSetFiles)
	}
	return l, nil
}
