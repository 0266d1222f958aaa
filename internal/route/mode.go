package route

import (
	"fmt"
	"slices"
	"strings"
)

// Side is who answers.
type Side string

// The two sides.
const (
	Device Side = "device"
	Server Side = "server"
)

// Mode is how free the decision is.
type Mode string

// The modes.
const (
	Auto         Mode = "auto"          // the signals decide
	DeviceOnly   Mode = "device-only"   // always the device
	ServerOnly   Mode = "server-only"   // always the server; an error when there is none
	PreferDevice Mode = "prefer-device" // the server only when both triggers say so
	PreferServer Mode = "prefer-server" // the device only when the server can't be had
	Shadow       Mode = "shadow"        // the device answers, and a sample is asked of the server too
)

// Modes lists them all.
func Modes() []Mode { return []Mode{Auto, DeviceOnly, PreferDevice, PreferServer, ServerOnly, Shadow} }

// aliases are shorter names.
var aliases = map[string]Mode{string(Device): DeviceOnly, string(Server): ServerOnly}

// ParseMode reads a mode's name; "device" and "server" are short for
// device-only and server-only.
func ParseMode(s string) (Mode, error) {
	if m, ok := aliases[s]; ok {
		return m, nil
	}
	if m := Mode(s); slices.Contains(Modes(), m) {
		return m, nil
	}
	return "", fmt.Errorf("route mode %q: want one of %s", s, strings.Join(modeNames(), ", "))
}

func modeNames() []string {
	names := make([]string, 0, len(Modes()))
	for _, m := range Modes() {
		names = append(names, string(m))
	}
	return names
}

// ParseForce reads a side: "" and "auto" leave the choice open, "device" and
// "server" force a side, all else is an error.
func ParseForce(s string) (Side, error) {
	switch s {
	case "", string(Auto):
		return "", nil
	case string(Device), string(Server):
		return Side(s), nil
	}
	return "", fmt.Errorf("%s %q: want device, server or auto", HeaderRoute, s)
}

// ParseRequest reads the request header x-crayon-route: a side as ParseForce
// does, or a mode for this request alone.
func ParseRequest(s string) (Side, Mode, error) {
	if side, err := ParseForce(s); err == nil {
		return side, "", nil
	}
	m, err := ParseMode(s)
	if err != nil {
		return "", "", fmt.Errorf("%s %q: want device, server or one of %s", HeaderRoute, s, strings.Join(modeNames(), ", "))
	}
	return "", m, nil
}
