#include "rpt/table.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#define GAP	      2
#define ELLIPSIS      ".."
#define INDENT	      4
#define WIDTH_DEFAULT 80

/* One character of a text (UTF-8, as JSON has it): its bytes and its columns. */
struct glyph {
	size_t len;
	unsigned width;
};

static struct glyph glyph_at(const char *text)
{
	struct glyph glyph = { .len = 1, .width = 1 };
	mbstate_t state = { 0 };
	wchar_t wide;

	while (((unsigned char)text[glyph.len] & 0xc0) == 0x80)
		glyph.len++;
	/* Only in a locale of UTF-8 the terminal's idea of widths is known. */
	if (glyph.len > 1 && mbrtowc(&wide, text, glyph.len, &state) == glyph.len) {
		int width = wcwidth(wide);

		glyph.width = width < 0 ? 1 : (unsigned)width;
	}
	return glyph;
}

static unsigned text_width(const char *text, size_t len)
{
	unsigned width = 0;

	for (size_t i = 0; i < len;) {
		struct glyph glyph = glyph_at(text + i);

		width += glyph.width;
		i += glyph.len;
	}
	return width;
}

/* Writes what a terminal might obey (C0, DEL, C1) as '?'. */
static void put_text(FILE *out, const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c == 0xc2 && i + 1 < len && (unsigned char)text[i + 1] < 0xa0) {
			putc('?', out);
			i++;
		} else {
			putc(c < 0x20 || c == 0x7f ? '?' : c, out);
		}
	}
}

/* The bytes of text that fit into `width` columns. */
static size_t fitting(const char *text, unsigned width)
{
	size_t len = 0;

	while (text[len]) {
		struct glyph glyph = glyph_at(text + len);

		if (glyph.width > width)
			break;
		width -= glyph.width;
		len += glyph.len;
	}
	return len;
}

/* Writes the text, or its beginning and end around an ellipsis. Returns the columns used. */
static unsigned put_shortened(FILE *out, const char *text, unsigned width)
{
	size_t len = strlen(text);
	unsigned whole = text_width(text, len);

	if (whole <= width) {
		put_text(out, text, len);
		return whole;
	}
	unsigned keep = width - (unsigned)strlen(ELLIPSIS);
	size_t head = fitting(text, keep - keep / 2), tail = head;

	while (text_width(text + tail, len - tail) > keep / 2)
		tail += glyph_at(text + tail).len;
	put_text(out, text, head);
	fputs(ELLIPSIS, out);
	put_text(out, text + tail, len - tail);
	return text_width(text, head) + (unsigned)strlen(ELLIPSIS) +
	       text_width(text + tail, len - tail);
}

static void put_spaces(FILE *out, unsigned n)
{
	fprintf(out, "%*s", (int)n, "");
}

/* Breaks the text at spaces, or where a word alone is too long. */
static void put_wrapped(FILE *out, const char *text, unsigned width)
{
	unsigned room = width > 2 * INDENT ? width - INDENT : INDENT;

	while (*text) {
		size_t len = fitting(text, room);

		if (len == 0)
			len = glyph_at(text).len;
		if (text[len] && text[len] != ' ') {
			const char *space = memrchr(text, ' ', len);

			if (space && space > text)
				len = (size_t)(space - text);
		}
		put_spaces(out, INDENT);
		put_text(out, text, len);
		putc('\n', out);
		text += len;
		text += strspn(text, " ");
	}
}

/* How wide each column but the last is, and where the last one starts. */
struct layout {
	unsigned widths[TABLE_MAX_COLUMNS];
	unsigned last;
};

static void widen(struct layout *layout, const struct table_column *columns, size_t n_columns,
		  const char *const *row, bool limited)
{
	for (size_t i = 0; i + 1 < n_columns; i++) {
		unsigned width = row[i] ? text_width(row[i], strlen(row[i])) : 0;

		if (limited && columns[i].max_width && width > columns[i].max_width)
			width = columns[i].max_width;
		if (width > layout->widths[i])
			layout->widths[i] = width;
	}
}

static unsigned total(const struct layout *layout, size_t n_columns)
{
	unsigned sum = 0;

	for (size_t i = 0; i + 1 < n_columns; i++)
		sum += layout->widths[i] + GAP;
	return sum;
}

/* Takes columns from the right away until the rows, without their last cell, fit. */
static void narrow(struct layout *layout, const struct table_column *columns, size_t n_columns,
		   unsigned width)
{
	/* The gap behind the last but one may hang over. */
	for (size_t i = n_columns - 1; i-- > 0;) {
		unsigned sum = total(layout, n_columns) - GAP;

		if (sum <= width)
			return;
		if (columns[i].min_width == 0 || layout->widths[i] <= columns[i].min_width)
			continue;
		unsigned spare = layout->widths[i] - columns[i].min_width;
		layout->widths[i] -= spare < sum - width ? spare : sum - width;
	}
}

static void put_row(FILE *out, const struct table_column *columns, size_t n_columns,
		    const char *const *row, const struct layout *layout, unsigned width)
{
	const char *last = row[n_columns - 1] ? row[n_columns - 1] : "";
	bool below = width && layout->last + text_width(last, strlen(last)) > width;
	unsigned owed = 0;

	for (size_t i = 0; i + 1 < n_columns; i++) {
		const char *text = row[i] ? row[i] : "";
		unsigned room = layout->widths[i], width_of_text = text_width(text, strlen(text));

		if (columns[i].right && width_of_text < room)
			owed += room - width_of_text;
		put_spaces(out, owed);
		unsigned used = put_shortened(out, text, room);
		owed = GAP + (columns[i].right ? 0 : room - used);
	}
	if (*last && !below) {
		put_spaces(out, owed);
		put_text(out, last, strlen(last));
	}
	putc('\n', out);
	if (below)
		put_wrapped(out, last, width);
}

void table_print(FILE *out, const struct table_column *columns, size_t n_columns,
		 const char *const *cells, size_t n_rows, unsigned width)
{
	const char *heads[TABLE_MAX_COLUMNS] = { NULL };
	struct layout layout = { 0 };

	for (size_t i = 0; i < n_columns; i++)
		heads[i] = columns[i].head;
	widen(&layout, columns, n_columns, heads, width > 0);
	for (size_t i = 0; i < n_rows; i++)
		widen(&layout, columns, n_columns, cells + i * n_columns, width > 0);
	if (width)
		narrow(&layout, columns, n_columns, width);
	layout.last = total(&layout, n_columns);

	put_row(out, columns, n_columns, heads, &layout, 0);
	for (size_t i = 0; i < n_rows; i++)
		put_row(out, columns, n_columns, cells + i * n_columns, &layout, width);
}

unsigned table_terminal_width(FILE *out)
{
	struct winsize size;
	const char *columns = getenv("COLUMNS");

	if (!isatty(fileno(out)))
		return 0;
	if (ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
		return size.ws_col;
	int width = columns ? atoi(columns) : 0;
	return width > 0 ? (unsigned)width : WIDTH_DEFAULT;
}

void table_put(FILE *out, const char *text)
{
	put_text(out, text, strlen(text));
}
