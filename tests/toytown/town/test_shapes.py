import numpy as np
import pytest

from clip2scene.toytown.town.shapes import ball, box, cone, crumple, extrude, join, tube, turn_about_z, wheel


def area(mesh):
    a, b, c = mesh.vertices[mesh.faces].astype(np.float64).transpose(1, 0, 2)
    return np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2


def is_closed(mesh):
    """Every edge belongs to two triangles; vertices at one place are one."""
    same = np.unique(mesh.vertices.round(5), axis=0, return_inverse=True)[1].ravel()
    faces = same[mesh.faces]
    edges = np.concatenate([faces[:, pair] for pair in ([0, 1], [1, 2], [2, 0])])
    return set(np.unique(np.sort(edges, 1), axis=0, return_counts=True)[1]) == {2}


@pytest.mark.parametrize(
    ("mesh", "surface"),
    [
        (box((0.0, 0.0, 0.0), (1.0, 2.0, 3.0)), 22),
        (extrude([(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)], 1.0), 2 * 0.5 + 2 * (2 + 2**0.5)),
        (tube((0.0, 0.0, 0.0), (0.0, 0.0, 2.0), 0.5, sides=100), 2 * np.pi * 0.5 * 2 + 2 * np.pi * 0.25),
        (cone((0.0, 0.0, 0.0), (3.0, 0.0, 0.0), 0.5, 0.5, sides=100), 2 * np.pi * 0.5 * 3 + 2 * np.pi * 0.25),
        (ball((1.0, 2.0, 3.0), (2.0, 2.0, 2.0), rows=60, columns=60), 4 * np.pi * 4),
    ],
)
def test_solids_are_closed_and_have_their_surface(mesh, surface):
    assert is_closed(mesh)
    assert area(mesh) == pytest.approx(surface, rel=0.01)


def test_a_wheel_stands_upright_and_spans_its_radius():
    vertices = wheel((1.0, 2.0, 0.3), 0.3, 0.2).vertices
    low, high = vertices.min(0), vertices.max(0)
    np.testing.assert_allclose((low + high) / 2, [1, 2, 0.3], atol=0.02)
    np.testing.assert_allclose(high - low, [0.6, 0.2, 0.6], atol=0.05)


def test_joined_meshes_keep_their_triangles():
    parts = [box((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)), box((2.0, 0.0, 0.0), (3.0, 1.0, 1.0))]
    whole = join(parts)
    assert area(whole) == pytest.approx(12) and len(whole.vertices) == 16
    assert np.array_equal(whole.vertices[whole.faces[12:]], parts[1].vertices[parts[1].faces])


def test_a_mesh_turns_left_by_its_yaw_and_nose_down_by_its_pitch():
    mesh = box((0.0, 0.0, 0.0), (1.0, 0.0, 0.0))
    left = mesh.moved((5.0, 0.0, 0.0), yaw=np.pi / 2).vertices
    np.testing.assert_allclose(left[1], [5, 1, 0], atol=1e-6)
    np.testing.assert_allclose(
        mesh.moved((0.0, 0.0, 0.0), pitch=np.pi / 2).vertices[1], [0, 0, -1], atol=1e-6
    )


def test_vectors_turn_about_z_by_the_rotation_matrix():
    rng = np.random.default_rng(0)
    vectors, angles = rng.normal(size=(5, 3)), rng.uniform(-3, 3, 5)
    for vector, angle, got in zip(
        vectors, angles, turn_about_z(vectors, np.cos(angles), np.sin(angles)), strict=True
    ):
        cos, sin = np.cos(angle), np.sin(angle)
        np.testing.assert_allclose(got, np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) @ vector)


def test_a_crumpled_mesh_stays_within_its_amount():
    mesh = ball((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    reach = np.linalg.norm(crumple(mesh, 0.1, np.random.default_rng(0)).vertices, axis=1)
    assert reach.min() > 0.89 and reach.max() < 1.11 and reach.std() > 0.01
