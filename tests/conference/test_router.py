"""Who is seen where, at which layer, and who speaks."""

from hypothesis import given
from hypothesis import strategies as st

from conference.router import Budget, Feed, Layer, Speakers, View, choose_layers, place, place_audio, wanted_feeds

FEEDS = [Feed(10, 1), Feed(20, 2), Feed(30, 3), Feed(31, 3, screen=True), Feed(40, 4)]
THREE = (Layer(100_000, 180), Layer(400_000, 360), Layer(1_200_000, 720))


def ids(viewer: int, spotlight: int | None = None, recent: tuple[int, ...] = (), slots: int = 6) -> list[int]:
    return [feed.id for feed in wanted_feeds(viewer, FEEDS, spotlight, recent, slots)]


def test_stage_goes_to_spotlight_then_screen_then_speaker() -> None:
    """The chair's choice beats a shared screen, which beats the speaker, who beats the rest; never oneself."""
    assert ids(1, spotlight=4)[0] == 40
    assert ids(1, recent=(2,))[:2] == [31, 20]
    assert ids(3, recent=(4, 2)) == [40, 20, 10]
    assert ids(4, spotlight=4, recent=(2,))[0] == 31


@given(
    st.lists(st.one_of(st.none(), st.integers(1, 9)), min_size=6, max_size=6),
    st.lists(st.integers(1, 9), unique=True, max_size=6),
    st.integers(1, 6),
)
def test_pictures_stay_in_their_slots(before: list[int | None], wanted: list[int], slots: int) -> None:
    """Every wanted picture gets one slot, the first the stage, and one that was a thumbnail stays where it was."""
    wanted = wanted[:slots]
    placed = place(before, wanted, slots)
    assert len(placed) == slots
    assert sorted(feed for feed in placed if feed is not None) == sorted(wanted)
    assert not wanted or placed[0] == wanted[0]
    for at in range(1, slots):
        if before[at] in wanted[1:] and before.index(before[at], 1) == at:
            assert placed[at] == before[at]


@given(st.lists(st.integers(1, 9), unique=True, max_size=3), st.lists(st.integers(1, 9), unique=True))
def test_voices_stay_in_their_slots(before: list[int], wanted: list[int]) -> None:
    """Who is heard and stays wanted keeps the slot; free slots are filled."""
    wanted = wanted[:3]
    placed = place_audio(before, wanted, 3)
    assert all(placed[at] == feed for at, feed in enumerate(before) if feed in wanted)
    assert {feed for feed in placed if feed} == set(wanted)


def test_speaker_needs_to_be_louder_for_a_while() -> None:
    """A cough does not take the stage; a lasting voice does; silence leaves it where it was."""
    speakers = Speakers()
    for step in range(10):
        speakers.update({1: 20, 2: 127}, step / 10)
    assert speakers.recent == [1]
    speakers.update({1: 22, 2: 10}, 1.0)
    assert speakers.recent == [1]
    for step in range(11, 40):
        speakers.update({1: 127, 2: 20}, step / 10)
    assert speakers.recent == [2, 1]
    for step in range(40, 60):
        speakers.update({1: 127, 2: 127}, step / 10)
    assert speakers.recent == [2, 1]
    speakers.forget(2)
    assert speakers.recent == [1]


def test_chair_is_always_heard() -> None:
    """The chair comes first even when silent, then the loudest; who is heard has a small lead."""
    speakers = Speakers()
    for step in range(10):
        speakers.update({1: 127, 2: 30, 3: 25, 4: 20}, step / 10)
    assert speakers.loudest([1], []) == [1, 4, 3, 2]
    assert [speakers.speaks(member) for member in (1, 2, 9)] == [False, True, False]
    assert speakers.loudest([], [3]) == [3, 4, 2, 1]


def test_layers_follow_size_and_budget() -> None:
    """A large view gets a high layer, a small one a low layer, a hidden one none; a thin line pauses the last ones."""
    stage, thumb, hidden = View(720, THREE), View(150, THREE), View(0, THREE)
    assert choose_layers(5_000_000, [stage, thumb, hidden], []) == [2, 0, None]
    assert choose_layers(700_000, [stage, thumb], []) == [1, 0]
    assert choose_layers(150_000, [stage, thumb], []) == [0, None]
    assert choose_layers(50_000, [stage, thumb], []) == [None, None]
    assert choose_layers(5_000_000, [View(720, (Layer(0, 180), Layer(300_000, 360)))], []) == [1]


@given(
    st.integers(0, 5_000_000),
    st.lists(st.tuples(st.integers(0, 1080), st.lists(st.integers(0, 2_000_000), max_size=3)), max_size=8),
)
def test_layers_never_exceed_the_budget(budget: int, shapes: list[tuple[int, list[int]]]) -> None:
    """What is newly shown stays within the budget together, and is being sent."""
    views = [View(h, tuple(Layer(b, 180 << i) for i, b in enumerate(sorted(rates)))) for h, rates in shapes]
    chosen = choose_layers(budget, views, [])
    spent = sum(views[at].layers[layer].bitrate for at, layer in enumerate(chosen) if layer is not None)
    assert spent <= budget
    assert all(views[at].layers[layer].bitrate for at, layer in enumerate(chosen) if layer is not None)


def test_layer_does_not_swing_at_the_edge() -> None:
    """Going up needs a fifth to spare, staying does not; the last layer stays until half of its need is gone."""
    assert choose_layers(60_000, [View(360, THREE)], [0]) == [0]
    assert choose_layers(40_000, [View(360, THREE)], [0]) == [None]
    assert choose_layers(90_000, [View(360, THREE)], [None]) == [None]
    view = View(360, THREE)
    assert choose_layers(410_000, [view], [0]) == [0]
    assert choose_layers(410_000, [view], [1]) == [1]
    assert choose_layers(520_000, [view], [0]) == [1]


def test_budget_believes_lasting_estimates() -> None:
    """One low estimate changes nothing, a second and a half of them do; one above what is sent says nothing."""
    budget = Budget(4_000_000)
    budget.estimate(700_000, 800_000, 10.0)
    budget.estimate(900_000, 800_000, 10.5)
    budget.estimate(700_000, 800_000, 11.0)
    budget.estimate(700_000, 800_000, 12.0)
    assert budget.bitrate == 4_000_000
    budget.estimate(700_000, 800_000, 12.6)
    assert budget.bitrate == 700_000


def test_budget_steps_down_on_lasting_loss() -> None:
    """Two lossy reports in a row step down from what was sent, never below the floor."""
    budget = Budget(4_000_000)
    budget.loss(0.3, 1_000_000, 1.0)
    assert budget.bitrate == 4_000_000
    budget.loss(0.3, 1_000_000, 2.0)
    assert budget.bitrate == 850_000
    for second in range(100):
        budget.loss(0.5, 60_000, float(second))
    assert budget.bitrate == Budget.FLOOR


def test_budget_rises_slower_after_each_fall() -> None:
    """After a fall it holds, then grows by 8 % a second; the second hold is longer, and a calm minute forgives."""
    budget = Budget(4_000_000)
    rises = []
    for fall in range(2):
        start = 100.0 * fall
        for second in (0.0, 1.0):
            budget.loss(0.3, 500_000, start + second)
        low = budget.bitrate
        budget.loss(0.0, 400_000, start + 2)
        second = 1
        while budget.bitrate == low:
            second += 1
            budget.rise(start + second)
        rises.append(second)
    assert rises == [5, 9]
    for second in range(300, 400):
        budget.rise(float(second))
    assert budget.bitrate == 4_000_000
