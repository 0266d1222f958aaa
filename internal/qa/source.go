package qa

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"crayon/internal/fault"
)

// Source is a data set in a form of its own: files of the hub or of this
// machine, and how their columns become rows.
type Source struct {
	From    string            `yaml:"from"`               // hf://OWNER/DATASET[@REVISION], a file, or a folder
	Dataset string            `yaml:"dataset,omitempty"`  // its name; "": that of From
	Splits  map[string]string `yaml:"splits,omitempty"`   // split: files, a pattern of package path below From; none: by the files' names
	Licence string            `yaml:"licence,omitempty"`  // "": as in the catalogue
	Family  string            `yaml:"family,omitempty"`   // "": as in the catalogue
	SkipBad bool              `yaml:"skip_bad,omitempty"` // leave out and count rows that cannot be mapped, else they are an error
	Map     Map               `yaml:"map,omitempty"`
}

// splitNames are the splits that a source may have.
var splitNames = []string{"train", "dev", "val", "test", "all"}

var datasetName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,95}$`)

// hubScheme begins the address of a hub data set.
const hubScheme = "hf://"

func (s *Source) hub() bool { return strings.HasPrefix(s.From, hubScheme) }

// name is the data set's.
func (s *Source) name() string {
	if s.Dataset != "" {
		return s.Dataset
	}
	base := path.Base(strings.ReplaceAll(s.From, `\`, "/"))
	if s.hub() {
		base, _, _ = strings.Cut(base, "@")
		return base
	}
	base, _, _ = strings.Cut(base, ".")
	return base
}

// Check says what is wrong with a source before anything is read.
func (s *Source) Check() error {
	if s.From == "" {
		return errors.New("from: no address or path")
	}
	if !datasetName.MatchString(s.name()) {
		return fmt.Errorf("dataset: %q is no name of letters, digits, . _ and -", s.name())
	}
	for split, pattern := range s.Splits {
		if !slices.Contains(splitNames, split) {
			return fmt.Errorf("splits: %q is none of %s", split, strings.Join(splitNames, ", "))
		}
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
			return fmt.Errorf("splits.%s: %q is no pattern of file names", split, pattern)
		}
	}
	if err := s.Map.check(); err != nil {
		return fmt.Errorf("map.%w", err)
	}
	return nil
}

// info is what is known of the source's data set.
func (s *Source) info() Info {
	info := About(s.name())
	if s.Licence != "" {
		info.Licence, info.Permissive = s.Licence, permissive(s.Licence)
	}
	if s.Family != "" {
		info.Family = s.Family
	}
	return info
}

// CheckSources checks each and that no data set is named twice.
func CheckSources(sources []Source) error {
	seen := map[string]bool{}
	for i := range sources {
		s := &sources[i]
		if err := s.Check(); err != nil {
			return fmt.Errorf("sources[%d].%w", i, err)
		}
		if seen[s.name()] {
			return fmt.Errorf("sources[%d].dataset: %q is named twice", i, s.name())
		}
		seen[s.name()] = true
	}
	return nil
}

// maxSources bounds a file of sources in bytes.
const maxSources = 1 << 20

// readSources reads a YAML file with the key sources.
func readSources(file string) ([]Source, error) {
	fail := func(err error) ([]Source, error) {
		return nil, &fault.Error{Op: "read sources", Path: file, Err: err, Hint: "docs/data.md lists the keys", Exit: fault.ExitUsage}
	}
	f, err := os.Open(file)
	if err != nil {
		return fail(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSources+1))
	if err == nil && len(data) > maxSources {
		err = fmt.Errorf("more than %d bytes", maxSources)
	}
	if err != nil {
		return fail(err)
	}
	sources, err := parseSources(data)
	if err != nil {
		return fail(err)
	}
	return sources, nil
}

func parseSources(data []byte) ([]Source, error) {
	var file struct {
		Sources []Source `yaml:"sources"`
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&file); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if len(file.Sources) == 0 {
		return nil, errors.New("it names no sources")
	}
	return file.Sources, CheckSources(file.Sources)
}

// splitName is how files name a split.
var splitName = regexp.MustCompile(`^(train|test|validation|valid|val|dev|all)([-_.].*)?$`)

// assign says which of the files, names below From, belong to which split: by
// the patterns, else by their own names. Files are in the order of their names.
func (s *Source) assign(names []string) (map[string][]string, error) {
	out := map[string][]string{}
	names = slices.Sorted(slices.Values(names))
	if len(s.Splits) > 0 {
		for split, pattern := range s.Splits {
			for _, name := range names {
				if ok, _ := path.Match(pattern, name); ok {
					out[split] = append(out[split], name)
				}
			}
			if len(out[split]) == 0 {
				return nil, fmt.Errorf("splits.%s: no file fits %q; there are %s", split, pattern, shown(names))
			}
		}
		return out, nil
	}
	folder := ""
	for _, name := range names {
		m := splitName.FindStringSubmatch(path.Base(name))
		if m == nil || kindOf(name) == "" {
			continue
		}
		split := m[1]
		if split == "validation" || split == "valid" {
			split = "dev"
		}
		if len(out) > 0 && path.Dir(name) != folder {
			return nil, fmt.Errorf("it has several data sets, in %s and %s; say which files under splits", folder, path.Dir(name))
		}
		folder = path.Dir(name)
		out[split] = append(out[split], name)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no file is named after a split; say which under splits; there are %s", shown(names))
	}
	return out, nil
}

// shown lists a few names.
func shown(names []string) string {
	const most = 12
	if len(names) == 0 {
		return "none"
	}
	more := ""
	if len(names) > most {
		more = fmt.Sprintf(" and %d more", len(names)-most)
	}
	return strings.Join(names[:min(most, len(names))], ", ") + more
}

// notFree and openLicences tell a permissive licence by its name.
var (
	notFree      = regexp.MustCompile(`(?i)\b(sa|nc|nd|gpl|lgpl|agpl|odbl|sharealike|noncommercial)\b`)
	openLicences = regexp.MustCompile(`(?i)^(mit|apache|afl|bsd|isc|cc0|cc[ -]by|pddl|odc[ -]by|cdla[ -]permissive|unlicense|zlib|public domain)([ -].*)?$`)
)

// permissive says whether a licence, as its publisher names it, asks for no
// more than credit. One that is not known does not count as such.
func permissive(licence string) bool {
	return openLicences.MatchString(licence) && !notFree.MatchString(licence)
}

// sortedSplits are a map's splits by name.
func sortedSplits[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }
