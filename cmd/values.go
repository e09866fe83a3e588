package cmd

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes.
type Size int64

// The units of a Size.
const (
	KiB Size = 1 << 10
	MiB Size = 1 << 20
	GiB Size = 1 << 30
	TiB Size = 1 << 40
)

var sizeUnits = []struct {
	name string
	size Size
}{{"TiB", TiB}, {"GiB", GiB}, {"MiB", MiB}, {"KiB", KiB}, {"B", 1}}

// ParseSize parses a whole number with a unit, such as 64KiB, 1GiB or 512B. A number without a unit counts bytes.
func ParseSize(s string) (Size, error) {
	digits, unit := splitUnit(s)
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return 0, errors.New("must be a size such as 64KiB")
	}
	if unit == "" {
		return Size(n), nil
	}
	for _, u := range sizeUnits {
		if u.name != unit {
			continue
		}
		if n > math.MaxInt64/int64(u.size) {
			return 0, errors.New("is too large")
		}
		return Size(n) * u.size, nil
	}
	return 0, errors.New("must be a size in B, KiB, MiB, GiB or TiB")
}

// String returns the size as a multiple of the largest unit that divides it.
func (s Size) String() string {
	for _, u := range sizeUnits {
		if s != 0 && s%u.size == 0 {
			return strconv.FormatInt(int64(s/u.size), 10) + u.name
		}
	}
	return "0B"
}

// Rate is a limit of Count events in each period Per. The zero value sets no limit.
type Rate struct {
	Count int
	Per   time.Duration
}

var rateUnits = []struct {
	name string
	per  time.Duration
}{{"s", time.Second}, {"m", time.Minute}, {"h", time.Hour}}

// ParseRate parses a rate such as 20/h. 0 is no limit.
func ParseRate(s string) (Rate, error) {
	if s == "0" {
		return Rate{}, nil
	}
	count, unit, _ := strings.Cut(s, "/")
	n, err := strconv.Atoi(count)
	for _, u := range rateUnits {
		if err == nil && u.name == unit {
			if n < 1 {
				return Rate{}, errors.New("must be 1 or more before the /, or 0 alone for no limit")
			}
			return Rate{n, u.per}, nil
		}
	}
	return Rate{}, errors.New("must be a rate such as 50/s, 60/m or 20/h, or 0 for no limit")
}

// String returns the rate in the form that ParseRate parses.
func (r Rate) String() string {
	for _, u := range rateUnits {
		if r.Count != 0 && u.per == r.Per {
			return strconv.Itoa(r.Count) + "/" + u.name
		}
	}
	return "0"
}

// Sync is the longest time until an acknowledged write is synced to disk.
type Sync time.Duration

// SyncAlways syncs every write to disk before it is acknowledged.
const SyncAlways Sync = 0

// ParseSync parses "always" or an interval.
func ParseSync(s string) (Sync, error) {
	if s == "always" {
		return SyncAlways, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, errors.New("must be always or an interval such as 10s")
	}
	return Sync(d), nil
}

// String returns the value in the form that ParseSync parses.
func (s Sync) String() string {
	if s == SyncAlways {
		return "always"
	}
	return formatDuration(time.Duration(s))
}

const day = 24 * time.Hour

// parseDuration parses a duration such as 10s, 168h or 30d. Days are a whole number in front of all other units.
func parseDuration(s string) (time.Duration, error) {
	var days time.Duration
	if digits, unit := splitUnit(s); strings.HasPrefix(unit, "d") {
		n, err := strconv.ParseInt(digits, 10, 32)
		if err != nil || n > int64(math.MaxInt64/day)-1 {
			return 0, errDuration
		}
		if days, s = time.Duration(n)*day, unit[1:]; s == "" {
			return days, nil
		}
		if s[0] == '-' || s[0] == '+' {
			return 0, errDuration
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || d > math.MaxInt64-days {
		return 0, errDuration
	}
	return days + d, nil
}

var errDuration = errors.New("must be a time with its unit, such as 10s, 5m, 168h or 30d")

// ageFlag is the value of a flag with a duration, which may have days.
type ageFlag time.Duration

// String implements pflag.Value.
func (a *ageFlag) String() string { return formatDuration(time.Duration(*a)) }

// Set implements pflag.Value.
func (a *ageFlag) Set(s string) error {
	d, err := parseDuration(s)
	if err == nil {
		*a = ageFlag(d)
	}
	return err
}

// Type implements pflag.Value.
func (a *ageFlag) Type() string { return "duration" }

// formatDuration formats d without trailing zero units: 168h, not 168h0m0s.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Secret is text that must not be displayed. Only a conversion to string returns it.
type Secret string

const redacted = "(not shown)"

// String does not return the secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString does not return the secret.
func (s Secret) GoString() string { return fmt.Sprintf("%q", s.String()) }

// LogValue does not return the secret.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText does not return the secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// RedactURL removes user names, passwords and tokens from a list of URLs separated by commas. It replaces an item that
// is not a URL as a whole.
func RedactURL(list string) string {
	if list == "" {
		return ""
	}
	urls := strings.Split(list, ",")
	for i, s := range urls {
		u, err := url.Parse(strings.TrimSpace(s))
		if err != nil {
			urls[i] = redacted
			continue
		}
		// A NATS URL may have a token in place of the user name.
		if u.User != nil {
			u.User = url.User("xxxxx")
		}
		urls[i] = u.String()
	}
	return strings.Join(urls, ",")
}

// splitUnit splits "64KiB" into "64" and "KiB".
func splitUnit(s string) (digits, unit string) {
	end := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		return s, ""
	}
	return s[:end], s[end:]
}
