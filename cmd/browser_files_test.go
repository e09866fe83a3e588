package cmd

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"strings"
	"testing"
)

// pageFile is a file that a user gives to the page.
type pageFile struct {
	name, mime string
	body       []byte
}

// transfer is the expression of a DataTransfer with files, as a drop, a paste or a choice has it.
func transfer(files ...pageFile) string {
	var list strings.Builder
	for _, f := range files {
		fmt.Fprintf(&list, "data.items.add(new File([Uint8Array.from(atob(%s), (c) => c.charCodeAt(0))], %s, {type: %s}));",
			quote(base64.StdEncoding.EncodeToString(f.body)), quote(f.name), quote(f.mime))
	}
	return "(() => { const data = new DataTransfer(); " + list.String() + " return data; })()"
}

// chooses gives files to the button of the composer.
func (b *tab) chooses(files ...pageFile) {
	b.t.Helper()
	b.until("named('button', 'Attach files')")
	b.hook("const input = document.querySelector('.composer input[type=file]'); input.files = " + transfer(files...) +
		".files; input.dispatchEvent(new Event('change'))")
}

// ready waits until the tray has n files that can be sent.
func (b *tab) ready(n int) {
	b.t.Helper()
	b.until(fmt.Sprintf("count('.tray li') === %d && !has('.tray', 'Preparing')", n))
}

// drawing is a picture with a red corner at its top left, on blue.
func drawing(width, height int) *image.RGBA {
	m := image.NewRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			c := color.RGBA{B: uint8(100 + 155*x/width), G: uint8(200 * y / height), A: 255}
			if x < width/2 && y < height/2 {
				c = color.RGBA{R: 255, A: 255}
			}
			m.SetRGBA(x, y, c)
		}
	}
	return m
}

func pngOf(t testing.TB, name string, width, height int) pageFile {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, drawing(width, height)); err != nil {
		t.Fatal(err)
	}
	return pageFile{name, "image/png", b.Bytes()}
}

// cameraPhoto is a JPEG as a camera that was held upright writes it: turned, with the make of the camera in its metadata.
func cameraPhoto(t testing.TB, name string, width, height int) pageFile {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, drawing(width, height), nil); err != nil {
		t.Fatal(err)
	}
	const camera = "SECRETCAMERA\x00"
	exif := []byte("Exif\x00\x00MM\x00\x2a\x00\x00\x00\x08\x00\x02")
	exif = append(exif, "\x01\x0f\x00\x02\x00\x00\x00\x0d\x00\x00\x00\x26"...) // the make, at byte 38
	exif = append(exif, "\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00"...) // turned to the right
	exif = append(exif, "\x00\x00\x00\x00"+camera...)
	segment := binary.BigEndian.AppendUint16([]byte{0xff, 0xe1}, uint16(len(exif)+2))
	body := append([]byte{0xff, 0xd8}, append(append(segment, exif...), b.Bytes()[2:]...)...)
	return pageFile{name, "image/jpeg", body}
}
