/* Keeps the pages live. Without it, they are complete as the server has sent them. */
(function () {
    "use strict";

    // An answer that took long has cost Redis much: the page then rests for so many times as long.
    var EACH_MS = 3000, REST = 10,
        live = document.querySelector('[data-live]'),
        table = document.getElementById('fh-uploads');

    function visible() {
        return document.visibilityState === 'visible';
    }

    // What scrolls sideways, as wide tables do on a phone, is scrolled by the keyboard if it can have the focus.
    function reach() {
        document.querySelectorAll('.table-responsive, .dataTables_scrollBody').forEach(function (one) {
            if (one.scrollWidth > one.clientWidth) {
                one.tabIndex = 0;
            } else {
                one.removeAttribute('tabindex');
            }
        });
    }

    // A page without a table: its changing part is fetched and replaced.
    function refresh() {
        if (!visible() || live.contains(document.activeElement)) {
            return;
        }
        fetch(live.dataset.live + '?part=1', {credentials: 'same-origin'}).then(function (answer) {
            return answer.ok ? answer.text() : null;
        }).then(function (html) {
            if (html !== null && html !== live.dataset.last) {
                live.dataset.last = html;
                live.innerHTML = html;
                reach();
            }
        }).catch(function () { return null; });
    }

    // The list: DataTables begins with the rows that are there, and asks the server for others.
    function list() {
        var $ = window.jQuery,
            query = document.getElementById('fh-query'),
            summary = document.getElementById('fh-summary'),
            elsewhere = document.getElementById('fh-elsewhere'),
            chosen = {q: table.dataset.query, state: table.dataset.state},
            timer, askedAt = 0, restsUntil = 0,
            uploads = $(table).DataTable({
                serverSide: true,
                deferLoading: Number(table.dataset.total),
                displayStart: Number(table.dataset.start),
                pageLength: Number(table.dataset.length),
                lengthChange: false,
                searching: false,
                ordering: false,
                autoWidth: false,
                dom: "rt<'dt-footer'ip>",
                language: {
                    info: 'Showing _START_ to _END_ of _TOTAL_ uploads',
                    infoEmpty: 'No uploads to show',
                    infoFiltered: '',
                    emptyTable: 'No upload fits. Words are whole words: sh020, not sh02.',
                    zeroRecords: 'No upload fits. Words are whole words: sh020, not sh02.'
                },
                ajax: {
                    url: table.dataset.url,
                    data: function (asked) {
                        askedAt = Date.now();
                        return {draw: asked.draw, start: asked.start, length: asked.length,
                            q: chosen.q, state: chosen.state, version: table.dataset.version};
                    },
                    dataSrc: function (answer) {
                        restsUntil = Date.now() + REST * (Date.now() - askedAt);
                        tell(answer);
                        return answer.data;
                    },
                    error: function () { summary.textContent = 'Flower does not answer; trying again.'; }
                }
            });

        function tell(answer) {
            document.querySelectorAll('[data-count]').forEach(function (one) {
                var count = answer.counts[one.dataset.count];
                one.textContent = count === undefined ? '' : count;
            });
            summary.textContent = answer.found;
            elsewhere.hidden = !answer.elsewhere;
            elsewhere.firstElementChild.href = answer.elsewhere;
        }

        function withChosen(href) {
            var address = new URL(href);
            ['q', 'state'].forEach(function (name) {
                if (chosen[name]) {
                    address.searchParams.set(name, chosen[name]);
                } else {
                    address.searchParams.delete(name);
                }
            });
            address.searchParams.delete('start');
            return address;
        }

        function remember() {
            window.history.replaceState(null, '', withChosen(window.location.href));
            document.querySelectorAll('[data-by]').forEach(function (one) {
                one.href = withChosen(one.href);
            });
            uploads.ajax.reload();
        }

        // What stands there for readers without JavaScript.
        ['fh-pages', 'fh-none'].forEach(function (id) {
            var one = document.getElementById(id);
            if (one) {
                one.hidden = true;
            }
        });
        query.addEventListener('input', function () {
            window.clearTimeout(timer);
            timer = window.setTimeout(function () {
                chosen.q = query.value;
                remember();
            }, 300);
        });
        query.form.addEventListener('submit', function (event) {
            event.preventDefault();
            chosen.q = query.value;
            remember();
        });
        document.querySelectorAll('[data-state].task-state-filter').forEach(function (tab) {
            tab.addEventListener('click', function (event) {
                event.preventDefault();
                chosen.state = tab.dataset.state;
                document.querySelectorAll('.task-state-filter').forEach(function (other) {
                    other.classList.toggle('active', other === tab);
                    other.removeAttribute('aria-current');
                });
                tab.setAttribute('aria-current', 'true');
                remember();
            });
        });
        window.setInterval(function () {
            if (visible() && Date.now() > restsUntil && !table.contains(document.activeElement)) {
                uploads.ajax.reload(null, false);
            }
        }, EACH_MS);
    }

    // DataTables 1.13.4 writes an attribute that does not exist, and screen readers stumble over it.
    if (window.jQuery) {
        window.jQuery(document).on('draw.dt', function () {
            document.querySelectorAll('[aria-role]').forEach(function (one) {
                one.removeAttribute('aria-role');
            });
            reach();
        });
    }
    if (table) {
        list();
    }
    if (live) {
        window.setInterval(refresh, EACH_MS);
    }
    window.addEventListener('resize', reach);
    reach();
}());
